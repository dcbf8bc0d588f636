-- A running work shows how far it is, and attempts that are put off have an event of their own. SQLite's file of the same
-- name says the same.

SET LOCAL lock_timeout = '5s';

-- The values can be used once this migration is committed, so nothing below names them.
ALTER TYPE event_variable ADD VALUE IF NOT EXISTS 'compute/progress';
ALTER TYPE event_variable ADD VALUE IF NOT EXISTS 'compute/snoozed';

ALTER TABLE works
    -- In percent, of a work that is running.
    ADD COLUMN progress smallint,
    -- The handler's words for it.
    ADD COLUMN note text;
