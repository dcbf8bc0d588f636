-- Indexes by which every search reads about as many rows as it shows, and the count of scheduled works. SQLite's file of
-- the same name says the same.

SET LOCAL lock_timeout = '5s';

-- What the new ones replace. First, so that no lock has to be made stronger later on.
DROP INDEX works_api;
DROP INDEX works_consumer;
DROP INDEX works_rare;
DROP INDEX works_created_on;

-- Each work that is shown stands in exactly one of these, by status, origin and age. They are ordered by id + 0 and not by
-- id: the planner takes statuses to be spread evenly over the ids, and for an order that the primary key has as well it
-- would walk past a million works of another status.
CREATE INDEX works_done ON works (origin, (id + 0)) WHERE status = 'done' AND deleted_on IS NULL;
CREATE INDEX works_open ON works (status, origin, (id + 0)) WHERE status IN ('pending', 'running');
CREATE INDEX works_ended ON works (status, origin, (id + 0)) WHERE status IN ('failed', 'cancelled') AND deleted_on IS NULL;

-- Searches by time.
CREATE INDEX works_created_on ON works (created_on);

-- Works that wait for their time, to be counted.
CREATE INDEX works_scheduled ON works (run_at) WHERE status = 'pending' AND run_at IS NOT NULL;
