-- What the change feed and the counters need. PostgreSQL's file of the same name says why.

ALTER TABLE events ADD COLUMN status TEXT;

CREATE TABLE feed (
    one      INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    epoch    INTEGER NOT NULL,
    floor_id INTEGER NOT NULL DEFAULT 0
) STRICT;
-- Another one for each file that is made, with 53 bits as JavaScript has them.
INSERT INTO feed (epoch) VALUES (abs(random() % 9007199254740991));

CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    held_until INTEGER NOT NULL
) STRICT;

CREATE TABLE stat_deltas (
    recorded_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    origin      TEXT NOT NULL,
    was         TEXT,
    status      TEXT,
    latency     INTEGER,
    works       INTEGER NOT NULL
) STRICT;

CREATE TABLE stat_totals (
    origin TEXT NOT NULL,
    status TEXT NOT NULL,
    works  INTEGER NOT NULL,
    PRIMARY KEY (origin, status)
) STRICT;
INSERT INTO stat_totals (origin, status, works)
SELECT origin, status, count(*) FROM works WHERE deleted_on IS NULL GROUP BY origin, status;

CREATE TABLE stat_seconds (
    second  INTEGER NOT NULL,
    latency INTEGER NOT NULL,
    works   INTEGER NOT NULL,
    PRIMARY KEY (second, latency)
) STRICT;
