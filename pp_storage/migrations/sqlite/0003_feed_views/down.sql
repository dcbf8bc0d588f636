DROP TABLE stat_seconds;
DROP TABLE stat_totals;
DROP TABLE stat_deltas;
DROP TABLE leases;
DROP TABLE feed;
ALTER TABLE events DROP COLUMN status;
