DROP TABLE idempotency_keys;
DROP INDEX dead_letters_due;
DROP INDEX dead_letters_message;
ALTER TABLE dead_letters DROP COLUMN due_at;
ALTER TABLE works DROP COLUMN run_at;
