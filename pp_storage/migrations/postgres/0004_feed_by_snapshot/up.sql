-- Readers of the change feed go by snapshots and take events in the order of their ids. SQLite's file of the same name
-- says the same.

SET LOCAL lock_timeout = '5s';

-- Writers of events wait while the index is built, about a second for two million events. A large installation builds it
-- beforehand, while PP runs: CREATE INDEX CONCURRENTLY events_id ON events (id);
CREATE INDEX IF NOT EXISTS events_id ON events (id);

-- The database and the timeline of the server on which the epoch was made. A replica that was promoted counts on from
-- another transaction than its primary did.
ALTER TABLE feed ADD COLUMN incarnation text NOT NULL DEFAULT '';
