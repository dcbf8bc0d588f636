DROP INDEX dead_letters_kind;
DROP INDEX works_scheduled;
CREATE INDEX works_scheduled ON works (run_at, status) WHERE status = 'pending' AND run_at IS NOT NULL;

CREATE TABLE stat_seconds_of_all (
    second  INTEGER NOT NULL,
    latency INTEGER NOT NULL,
    works   INTEGER NOT NULL,
    PRIMARY KEY (second, latency)
) STRICT;
INSERT INTO stat_seconds_of_all (second, latency, works)
SELECT second, latency, sum(works) FROM stat_seconds GROUP BY second, latency;
DROP TABLE stat_seconds;
ALTER TABLE stat_seconds_of_all RENAME TO stat_seconds;

CREATE TABLE stat_totals_of_all (
    origin TEXT NOT NULL,
    status TEXT NOT NULL,
    works  INTEGER NOT NULL,
    PRIMARY KEY (origin, status)
) STRICT;
INSERT INTO stat_totals_of_all (origin, status, works)
SELECT origin, status, sum(works) FROM stat_totals GROUP BY origin, status;
DROP TABLE stat_totals;
ALTER TABLE stat_totals_of_all RENAME TO stat_totals;

ALTER TABLE stat_deltas DROP COLUMN kind;
