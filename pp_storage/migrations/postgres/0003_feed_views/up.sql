-- What the change feed and the counters need. SQLite's file of the same name says the same.

SET LOCAL lock_timeout = '5s';

-- The status of the work after the change that the event tells of; NULL on events that are older than this column.
ALTER TABLE events ADD COLUMN status work_status;

-- One row: which feed this is. A position of another epoch, or from before the floor, means nothing here.
CREATE TABLE feed (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- A database that is made anew, restored or copied counts on from another transaction: it has another epoch.
    epoch    bigint NOT NULL,
    -- Which database the epoch was made in.
    made_in  text NOT NULL,
    -- Events up to here may be gone.
    floor_tx xid8 NOT NULL DEFAULT '0',
    floor_id bigint NOT NULL DEFAULT 0
);

-- Who does for all what one has to do, and until when he may be silent.
CREATE TABLE leases (
    name       text COLLATE "C" PRIMARY KEY,
    holder     text NOT NULL,
    held_until timestamptz NOT NULL
);

-- What the counters have not taken in yet: so many works went from one status to another. Written with the change
-- itself, folded into the totals below; no key, since each is read and removed once, with all the others.
CREATE TABLE stat_deltas (
    recorded_on timestamptz NOT NULL DEFAULT now(),
    origin      work_origin NOT NULL,
    -- NULL: they were not there before.
    was         work_status,
    -- NULL: they are not there any more.
    status      work_status,
    -- How long those that became done had been asked for, as the number of a bucket; NULL where it is not known.
    latency     smallint,
    works       integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE TABLE stat_totals (
    origin work_origin NOT NULL,
    status work_status NOT NULL,
    works  bigint NOT NULL,
    PRIMARY KEY (origin, status)
);
INSERT INTO stat_totals (origin, status, works)
SELECT origin, status, count(*) FROM works WHERE deleted_on IS NULL GROUP BY origin, status;

-- Works that became done, by the Unix second and by latency; -1 where it is not known. Kept for two minutes.
CREATE TABLE stat_seconds (
    second  bigint NOT NULL,
    latency smallint NOT NULL,
    works   bigint NOT NULL,
    PRIMARY KEY (second, latency)
);
