-- Kinds whose works are pushed to a URL, the secrets that sign what is pushed, and notices of finished works. SQLite's file
-- of the same name says the same.

SET LOCAL lock_timeout = '5s';

ALTER TABLE kinds
    DROP COLUMN is_pulled,
    -- True if its works are claimed from their rows and never sent to a queue.
    ADD COLUMN is_pulled boolean NOT NULL GENERATED ALWAYS AS (
        coalesce(declared ->> 'delivery' IN ('pull', 'push'), false)
    ) STORED,
    -- The URL that is told of its finished works.
    ADD COLUMN notify text GENERATED ALWAYS AS (
        coalesce(overrides ->> 'notify', declared -> 'policy' ->> 'notify')
    ) STORED;

CREATE TABLE kind_secrets (
    kind           text COLLATE "C" PRIMARY KEY,
    -- In the form of Standard Webhooks: whsec_ and Base64.
    secret         text NOT NULL,
    -- The one before, which signs too until then.
    previous       text,
    previous_until timestamptz,
    set_on         timestamptz NOT NULL DEFAULT now()
);

-- The URL that is told when the work is finished; empty for that of its kind.
ALTER TABLE works ADD COLUMN notify text;

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
    told_at   text;
    demand_id text := gen_random_uuid()::text;
    wakes     boolean := true;
    given     record;
    dice      bytea;
BEGIN
    IF kind IS NULL OR length(kind) > 100 OR kind !~ '^[a-z0-9_]+(\.[a-z0-9_]+)*$' THEN
        RAISE EXCEPTION 'pp_enqueue: a kind is words of a-z, 0-9 and _ with dots between them, at most 100 bytes'
            USING ERRCODE = '22023';
    END IF;
    IF starts_with(kind, 'pp.') THEN
        RAISE EXCEPTION 'pp_enqueue: works of kind % are made by PP alone', kind USING ERRCODE = '22023';
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
        ELSIF given.key = 'notify' THEN
            IF given.type <> 'string' OR length(given.content) > 2048
                OR given.content !~ '^https?://[A-Za-z0-9._:\[\]-]+([/?][!-~]*)?$' THEN
                RAISE EXCEPTION 'pp_enqueue: notify must be an http or https URL of at most 2048 bytes'
                    USING ERRCODE = '22023';
            END IF;
            told_at := given.content;
        ELSIF given.key = 'wake' THEN
            IF given.type <> 'boolean' THEN
                RAISE EXCEPTION 'pp_enqueue: wake must be true or false' USING ERRCODE = '22023';
            END IF;
            wakes := given.content::boolean;
        ELSE
            RAISE EXCEPTION 'pp_enqueue: unknown option %; there are run_at, unique, message_id, notify and wake', given.key
                USING ERRCODE = '22023';
        END IF;
    END LOOP;

    -- Another code where one is taken; another look where the holder of the key has just finished.
    FOR turn IN 1..100 LOOP
        dice := uuid_send(gen_random_uuid());
        SELECT 'app-' || string_agg(substr(alphabet, get_byte(dice, place) % 62 + 1, 1), '') INTO work_code
            FROM unnest('{0,1,2,3,4,5,7,9,10,11}'::integer[]) AS place;
        INSERT INTO works AS made (kind, work_code, origin, message_id, args, run_at, due_at, unique_key, notify)
            VALUES (pp_enqueue.kind, pp_enqueue.work_code, 'app', demand_id, body::json, begins_at,
                greatest(now(), begins_at), held_key,
                coalesce(told_at, (SELECT '' FROM kinds WHERE name = pp_enqueue.kind AND notify IS NOT NULL)))
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

-- Enqueues the notice of a finished work, in the transaction that finishes it. The work is shown as the API shows it.
CREATE FUNCTION pp_tell_finished() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    alphabet CONSTANT text := 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
    target   text := nullif(NEW.notify, '');
    is_sum   boolean := NEW.kind = 'add_up_to';
    shown    text;
    code     text;
    made     bigint;
    dice     bytea;
BEGIN
    IF target IS NULL THEN
        SELECT notify INTO target FROM kinds WHERE name = NEW.kind;
        IF target IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    shown := concat(
        '{"id":', NEW.id, ',"work_code":', to_json(NEW.work_code),
        CASE WHEN is_sum THEN ',"add_up_to":' || (NEW.args ->> 'add_up_to')
            ELSE ',"kind":' || to_json(NEW.kind)::text || ',"args":' || NEW.args::text END,
        ',"done":', (NEW.status = 'done')::text,
        ',"created_on":', floor(extract(epoch FROM NEW.created_on))::bigint,
        ',"updated_on":', floor(extract(epoch FROM NEW.updated_on))::bigint,
        ',"status":', to_json(NEW.status::text), ',"result":', coalesce(NEW.result::text, 'null'),
        ',"version":', NEW.version,
        CASE WHEN is_sum THEN ',"kind":"add_up_to"' END,
        ',"run_at":' || floor(extract(epoch FROM NEW.run_at))::bigint,
        ',"unique":' || to_json(NEW.unique_key)::text,
        ',"error":' || to_json(NEW.error)::text,
        CASE WHEN NEW.attempt > 1 THEN ',"attempt":' || NEW.attempt END,
        '}'
    );
    shown := concat(
        '{"url":', to_json(target), ',"type":"work.', NEW.status, '","timestamp":"',
        to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '","data":', shown, '}'
    );
    -- Another code where one is taken.
    WHILE made IS NULL LOOP
        dice := uuid_send(gen_random_uuid());
        SELECT 'app-' || string_agg(substr(alphabet, get_byte(dice, place) % 62 + 1, 1), '') INTO code
            FROM unnest('{0,1,2,3,4,5,7,9,10,11}'::integer[]) AS place;
        INSERT INTO works (kind, work_code, origin, message_id, args, due_at)
            VALUES ('pp.notice', code, 'app', concat(NEW.id, '-', NEW.version), shown::json, now())
            ON CONFLICT (work_code) DO NOTHING
            RETURNING id INTO made;
    END LOOP;
    INSERT INTO events (work_id, generation, variable, value, status) VALUES (made, 1, 'work/created', shown, 'pending');
    INSERT INTO stat_deltas (kind, origin, status, works) VALUES ('pp.notice', 'app', 'pending', 1);
    PERFORM pg_notify('pp_due', '');
    RETURN NULL;
END
$$;
-- They run with the schema of PP alone, whatever the caller's path.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION pp_enqueue(text, json, json) SET search_path = pg_catalog, %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION pp_tell_finished() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;

CREATE TRIGGER works_finished AFTER UPDATE OF status ON works FOR EACH ROW
    WHEN (NEW.notify IS NOT NULL AND NEW.status IN ('done', 'failed', 'cancelled') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION pp_tell_finished();
-- What is computed before it has a row is finished when it is inserted.
CREATE TRIGGER works_inserted_finished AFTER INSERT ON works FOR EACH ROW
    WHEN (NEW.notify IS NOT NULL AND NEW.status IN ('done', 'failed', 'cancelled'))
    EXECUTE FUNCTION pp_tell_finished();
