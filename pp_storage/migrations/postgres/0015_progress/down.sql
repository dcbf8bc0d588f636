SET LOCAL lock_timeout = '5s';

-- The version before does not know these events. The values stay in the type, which gives none back.
DELETE FROM events WHERE variable IN ('compute/progress', 'compute/snoozed');
ALTER TABLE works DROP COLUMN progress, DROP COLUMN note;
