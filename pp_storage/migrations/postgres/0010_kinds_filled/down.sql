SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF EXISTS (SELECT FROM works WHERE kind <> 'add_up_to') OR EXISTS (SELECT FROM dead_letters WHERE kind <> 'add_up_to') THEN
        RAISE EXCEPTION 'there are works or dead letters of other kinds than add_up_to, which the version before cannot hold';
    END IF;
END
$$;

DROP INDEX works_kind;
DROP INDEX works_message_id_key;
ALTER TABLE works
    DROP CONSTRAINT works_result_when_done,
    DROP CONSTRAINT works_kind_form,
    ALTER COLUMN args DROP NOT NULL,
    ADD CONSTRAINT works_message_id_key UNIQUE (message_id),
    ADD COLUMN old_result bigint,
    ADD COLUMN old_add_up_to integer;
UPDATE works SET old_add_up_to = (args ->> 'add_up_to')::integer, old_result = (result #>> '{}')::bigint;
