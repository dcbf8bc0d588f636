-- Counters and dead letters by kind. PostgreSQL's file of the same name says why.

CREATE TABLE stat_deltas_by_kind (
    recorded_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    origin      TEXT NOT NULL,
    was         TEXT,
    status      TEXT,
    latency     INTEGER,
    works       INTEGER NOT NULL,
    kind        TEXT NOT NULL
) STRICT;
INSERT INTO stat_deltas_by_kind (recorded_on, origin, was, status, latency, works, kind)
SELECT recorded_on, origin, was, status, latency, works, 'add_up_to' FROM stat_deltas;
DROP TABLE stat_deltas;
ALTER TABLE stat_deltas_by_kind RENAME TO stat_deltas;

CREATE TABLE stat_totals_by_kind (
    origin TEXT NOT NULL,
    status TEXT NOT NULL,
    works  INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    PRIMARY KEY (kind, origin, status)
) STRICT;
INSERT INTO stat_totals_by_kind (kind, origin, status, works)
SELECT 'add_up_to', origin, status, works FROM stat_totals;
DROP TABLE stat_totals;
ALTER TABLE stat_totals_by_kind RENAME TO stat_totals;

CREATE TABLE stat_seconds_by_kind (
    second  INTEGER NOT NULL,
    latency INTEGER NOT NULL,
    works   INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    PRIMARY KEY (second, kind, latency)
) STRICT;
INSERT INTO stat_seconds_by_kind (second, kind, latency, works)
SELECT second, 'add_up_to', latency, works FROM stat_seconds;
DROP TABLE stat_seconds;
ALTER TABLE stat_seconds_by_kind RENAME TO stat_seconds;

DROP INDEX works_scheduled;
CREATE INDEX works_scheduled ON works (run_at, status, kind) WHERE status = 'pending' AND run_at IS NOT NULL;
CREATE INDEX dead_letters_kind ON dead_letters (kind, id);
