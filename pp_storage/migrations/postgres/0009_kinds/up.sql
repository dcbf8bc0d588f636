-- Works have a kind, and JSON for arguments and result. SQLite's file of the same name says the same.
--
-- The old columns get other names, so that programs of the version before fail with their next statement, see that the
-- schema is newer, and stop. `pp_storage` fills the new columns in parts before the next migration.

SET LOCAL lock_timeout = '5s';

ALTER TABLE works RENAME COLUMN add_up_to TO old_add_up_to;
ALTER TABLE works RENAME COLUMN result TO old_result;
ALTER TABLE works
    DROP CONSTRAINT works_add_up_to_range,
    DROP CONSTRAINT works_result_when_done,
    DROP CONSTRAINT works_finished_is_not_due,
    DROP CONSTRAINT works_running_has_lease,
    ALTER COLUMN old_add_up_to DROP NOT NULL,
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'add_up_to',
    -- json and not jsonb: it keeps every byte.
    ADD COLUMN args json,
    ADD COLUMN result json,
    -- Why the last attempt of this generation failed.
    ADD COLUMN error text,
    -- End of the lease of a running work. No index has it, so that extending a lease touches none.
    ADD COLUMN lease_until timestamptz,
    -- A random number of the statement that made the work running: after a lost reply it knows its own effect.
    ADD COLUMN claim bigint;
ALTER TABLE works ALTER COLUMN kind DROP DEFAULT;

UPDATE works SET lease_until = due_at, due_at = NULL WHERE status = 'running';
-- Programs of the version before extend leases and hand works back without a word about the old columns. These refuse
-- it. The next migration checks the rows that are there.
ALTER TABLE works
    ADD CONSTRAINT works_pending_is_due CHECK (due_at IS NULL OR status = 'pending') NOT VALID,
    ADD CONSTRAINT works_running_has_lease CHECK ((lease_until IS NOT NULL) = (status = 'running')) NOT VALID;

-- What the dispatcher looks for, by kind.
DROP INDEX works_unfinished;
CREATE INDEX works_due ON works (kind, due_at) WHERE status = 'pending';
-- What runs is little.
CREATE INDEX works_running ON works (id) WHERE status = 'running';

ALTER TABLE dead_letters ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'add_up_to';
ALTER TABLE dead_letters ALTER COLUMN kind DROP DEFAULT;
DROP INDEX dead_letters_message;
CREATE UNIQUE INDEX dead_letters_message ON dead_letters (message_id, kind) WHERE work_id IS NULL;
