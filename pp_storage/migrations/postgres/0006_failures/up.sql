-- Failures are counted apart from attempts, and a wait knows when it began. SQLite's file of the same name says the same.

SET LOCAL lock_timeout = '5s';

-- How many attempts of a generation failed by themselves. Before, it was derived from attempt and lost_leases; now an
-- attempt may also end because its worker was stopped, which counts as neither.
ALTER TABLE works ADD COLUMN failures integer NOT NULL DEFAULT 0;
-- When a lease was last extended or a retry was decided: `due_at` is a delay after it. NULL where `due_at` is no delay;
-- of a claim, `sent_at` says it. When this is later than now, the clock was set back.
ALTER TABLE works ADD COLUMN due_set_on timestamptz;
-- The same for leases: when they were last taken or extended.
ALTER TABLE leases ADD COLUMN set_on timestamptz;

-- Only what is unfinished asks for it: those rows have an index.
UPDATE works SET failures = attempt - 1 - lost_leases
WHERE status IN ('pending', 'running') AND attempt - 1 > lost_leases;
