-- Failures are counted apart from attempts, and a wait knows when it began. PostgreSQL's file of the same name says why.

ALTER TABLE works ADD COLUMN failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0);
ALTER TABLE works ADD COLUMN due_set_on INTEGER;
ALTER TABLE leases ADD COLUMN set_on INTEGER;

UPDATE works SET failures = attempt - 1 - lost_leases
WHERE status IN ('pending', 'running') AND attempt - 1 > lost_leases;
