-- Indexes by which every search reads about as many rows as it shows, and the count of scheduled works. PostgreSQL's file
-- of the same name says why. The id stands at the end of every index.

DROP INDEX works_api;
DROP INDEX works_consumer;
DROP INDEX works_rare;

CREATE INDEX works_done ON works (origin) WHERE status = 'done' AND deleted_on IS NULL;
CREATE INDEX works_open ON works (status, origin) WHERE status IN ('pending', 'running');
CREATE INDEX works_ended ON works (status, origin) WHERE status IN ('failed', 'cancelled') AND deleted_on IS NULL;

-- With the status, so that no row is read to count them.
CREATE INDEX works_scheduled ON works (run_at, status) WHERE status = 'pending' AND run_at IS NOT NULL;
