-- `pp_storage` has filled the old columns.

DROP INDEX dead_letters_message;
ALTER TABLE dead_letters DROP COLUMN kind;
CREATE UNIQUE INDEX dead_letters_message ON dead_letters (message_id) WHERE work_id IS NULL;

ALTER TABLE works
    DROP CONSTRAINT works_running_has_lease,
    DROP CONSTRAINT works_pending_is_due;
UPDATE works SET due_at = lease_until WHERE status = 'running';

DROP INDEX works_running;
DROP INDEX works_due;
ALTER TABLE works
    DROP COLUMN claim,
    DROP COLUMN lease_until,
    DROP COLUMN error,
    DROP COLUMN result,
    DROP COLUMN args,
    DROP COLUMN kind,
    ALTER COLUMN old_add_up_to SET NOT NULL;
ALTER TABLE works RENAME COLUMN old_add_up_to TO add_up_to;
ALTER TABLE works RENAME COLUMN old_result TO result;
ALTER TABLE works
    ADD CONSTRAINT works_add_up_to_range CHECK (add_up_to >= 1),
    ADD CONSTRAINT works_result_when_done CHECK ((status = 'done') = (result IS NOT NULL)),
    ADD CONSTRAINT works_finished_is_not_due CHECK (due_at IS NULL OR status IN ('pending', 'running')),
    ADD CONSTRAINT works_running_has_lease CHECK (due_at IS NOT NULL OR status <> 'running');
CREATE INDEX works_unfinished ON works (due_at) WHERE status IN ('pending', 'running');
