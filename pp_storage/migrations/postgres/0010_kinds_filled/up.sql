-- Every work has its arguments as JSON now, and is identified within its kind. SQLite's file of the same name says the
-- same.

SET LOCAL lock_timeout = '5s';

ALTER TABLE works
    DROP COLUMN old_add_up_to,
    DROP COLUMN old_result,
    DROP CONSTRAINT works_message_id_key,
    ALTER COLUMN args SET NOT NULL,
    ADD CONSTRAINT works_kind_form CHECK (kind ~ '^[a-z0-9_]+(\.[a-z0-9_]+)*$' AND length(kind) <= 100),
    ADD CONSTRAINT works_result_when_done CHECK ((status = 'done') = (result IS NOT NULL)),
    VALIDATE CONSTRAINT works_pending_is_due,
    VALIDATE CONSTRAINT works_running_has_lease;
-- Two kinds may use the same ids.
CREATE UNIQUE INDEX works_message_id_key ON works (message_id, kind);
-- Searches for works of one kind, as the indexes by status and origin are for works of all kinds. Sums are found by those.
CREATE INDEX works_kind ON works (kind, status, origin, (id + 0)) WHERE kind <> 'add_up_to' AND deleted_on IS NULL;
