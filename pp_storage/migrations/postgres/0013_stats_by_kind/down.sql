SET LOCAL lock_timeout = '5s';

DROP INDEX dead_letters_kind;
DROP INDEX works_scheduled;
CREATE INDEX works_scheduled ON works (run_at) WHERE status = 'pending' AND run_at IS NOT NULL;

-- The counters of all kinds add up.
INSERT INTO stat_seconds (second, kind, latency, works)
SELECT second, 'add_up_to', latency, sum(works) FROM stat_seconds WHERE kind <> 'add_up_to' GROUP BY second, latency
ON CONFLICT (second, kind, latency) DO UPDATE SET works = stat_seconds.works + excluded.works;
DELETE FROM stat_seconds WHERE kind <> 'add_up_to';
ALTER TABLE stat_seconds DROP CONSTRAINT stat_seconds_pkey, DROP COLUMN kind, ADD PRIMARY KEY (second, latency);

INSERT INTO stat_totals (kind, origin, status, works)
SELECT 'add_up_to', origin, status, sum(works) FROM stat_totals WHERE kind <> 'add_up_to' GROUP BY origin, status
ON CONFLICT (kind, origin, status) DO UPDATE SET works = stat_totals.works + excluded.works;
DELETE FROM stat_totals WHERE kind <> 'add_up_to';
ALTER TABLE stat_totals DROP CONSTRAINT stat_totals_pkey, DROP COLUMN kind, ADD PRIMARY KEY (origin, status);

ALTER TABLE stat_deltas DROP COLUMN kind;
