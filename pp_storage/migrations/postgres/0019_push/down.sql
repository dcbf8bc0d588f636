SET LOCAL lock_timeout = '5s';

DROP TRIGGER works_finished ON works;
DROP TRIGGER works_inserted_finished ON works;
DROP FUNCTION pp_tell_finished();
CREATE OR REPLACE FUNCTION pp_enqueue(kind text, args json, options json DEFAULT '{}')
RETURNS TABLE (id bigint, work_code text, duplicate boolean)
LANGUAGE plpgsql SECURITY DEFINER
AS $$
#variable_conflict use_column
DECLARE
    alphabet  CONSTANT text := 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
    -- The escape of U+0000, behind an even number of backslashes.
    nul       CONSTANT text := '(^|[^\\])(\\\\)*\\u0000';
    last_at   CONSTANT bigint := 253402300799;
    body      text := btrim(args::text, E' \t\r\n');
    -- The value of the event.
    told      text := body;
    begins_at timestamptz;
    held_key  text;
    demand_id text := gen_random_uuid()::text;
    wakes     boolean := true;
    given     record;
    dice      bytea;
BEGIN
    IF kind IS NULL OR length(kind) > 100 OR kind !~ '^[a-z0-9_]+(\.[a-z0-9_]+)*$' THEN
        RAISE EXCEPTION 'pp_enqueue: a kind is words of a-z, 0-9 and _ with dots between them, at most 100 bytes'
            USING ERRCODE = '22023';
    END IF;
    IF body IS NULL OR octet_length(body) > 65536 THEN
        RAISE EXCEPTION 'pp_enqueue: args must be JSON of at most 65536 bytes' USING ERRCODE = '22023';
    END IF;
    IF body ~ nul OR options::text ~ nul THEN
        RAISE EXCEPTION 'pp_enqueue: args and options must not have the character U+0000' USING ERRCODE = '22023';
    END IF;
    IF kind = 'add_up_to' THEN
        told := NULL;
        IF json_typeof(args) = 'object' THEN
            SELECT string_agg(key || '=' || value, '&') INTO told FROM json_each(args);
        END IF;
        told := substring(told FROM '^add_up_to=([1-9][0-9]{0,9})$');
        IF told IS NULL OR told::bigint > 2147483647 THEN
            RAISE EXCEPTION 'pp_enqueue: args of add_up_to are {"add_up_to":n}, with a whole number from 1 to 2147483647'
                USING ERRCODE = '22023';
        END IF;
        body := '{"add_up_to":' || told || '}';
    END IF;
    IF options IS NULL OR json_typeof(options) <> 'object' THEN
        RAISE EXCEPTION 'pp_enqueue: options must be an object' USING ERRCODE = '22023';
    END IF;
    FOR given IN SELECT key, value, json_typeof(value) AS type, value #>> '{}' AS content FROM json_each(options) LOOP
        IF given.key = 'run_at' THEN
            IF given.type <> 'number' OR given.content !~ '^[0-9]{1,12}$' OR given.content::bigint > last_at THEN
                RAISE EXCEPTION 'pp_enqueue: run_at must be Unix seconds, a whole number from 0 to %', last_at
                    USING ERRCODE = '22023';
            END IF;
            begins_at := to_timestamp(given.content::bigint);
        ELSIF given.key IN ('unique', 'message_id') THEN
            IF given.type <> 'string' OR octet_length(given.content) NOT BETWEEN 1 AND 255 THEN
                RAISE EXCEPTION 'pp_enqueue: % must be a text of 1 to 255 bytes', given.key USING ERRCODE = '22023';
            END IF;
            IF given.key = 'unique' THEN
                held_key := given.content;
            ELSE
                demand_id := given.content;
            END IF;
        ELSIF given.key = 'wake' THEN
            IF given.type <> 'boolean' THEN
                RAISE EXCEPTION 'pp_enqueue: wake must be true or false' USING ERRCODE = '22023';
            END IF;
            wakes := given.content::boolean;
        ELSE
            RAISE EXCEPTION 'pp_enqueue: unknown option %; there are run_at, unique, message_id and wake', given.key
                USING ERRCODE = '22023';
        END IF;
    END LOOP;

    -- Another code where one is taken; another look where the holder of the key has just finished.
    FOR turn IN 1..100 LOOP
        dice := uuid_send(gen_random_uuid());
        SELECT 'app-' || string_agg(substr(alphabet, get_byte(dice, place) % 62 + 1, 1), '') INTO work_code
            FROM unnest('{0,1,2,3,4,5,7,9,10,11}'::integer[]) AS place;
        INSERT INTO works AS made (kind, work_code, origin, message_id, args, run_at, due_at, unique_key)
            VALUES (pp_enqueue.kind, pp_enqueue.work_code, 'app', demand_id, body::json, begins_at,
                greatest(now(), begins_at), held_key)
            ON CONFLICT DO NOTHING
            RETURNING made.id INTO id;
        duplicate := NOT FOUND;
        IF NOT duplicate THEN
            INSERT INTO events (work_id, generation, variable, value, status)
                VALUES (pp_enqueue.id, 1, 'work/created', told, 'pending');
            INSERT INTO stat_deltas (kind, origin, status, works) VALUES (pp_enqueue.kind, 'app', 'pending', 1);
            IF wakes THEN
                PERFORM pg_notify('pp_due', '');
            END IF;
            RETURN NEXT;
            RETURN;
        END IF;
        SELECT held.id, held.work_code INTO id, work_code FROM works AS held
            WHERE held.message_id = demand_id AND held.kind = pp_enqueue.kind;
        IF NOT FOUND THEN
            SELECT held.id, held.work_code INTO id, work_code FROM works AS held
                WHERE held.kind = pp_enqueue.kind AND held.unique_key = held_key AND held.status IN ('pending', 'running');
        END IF;
        IF FOUND THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'pp_enqueue: every code is taken';
END
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION pp_enqueue(text, json, json) SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;
ALTER TABLE works DROP COLUMN notify;
DROP TABLE kind_secrets;
ALTER TABLE kinds
    DROP COLUMN notify,
    DROP COLUMN is_pulled,
    ADD COLUMN is_pulled boolean NOT NULL GENERATED ALWAYS AS (
        coalesce(declared ->> 'delivery' = 'pull', false)
    ) STORED;
