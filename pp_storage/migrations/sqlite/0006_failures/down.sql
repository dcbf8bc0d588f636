ALTER TABLE leases DROP COLUMN set_on;
ALTER TABLE works DROP COLUMN due_set_on;
ALTER TABLE works DROP COLUMN failures;
