ALTER TABLE feed DROP COLUMN incarnation;
DROP INDEX events_id;
