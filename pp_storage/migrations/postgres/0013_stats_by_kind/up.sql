-- Counters and dead letters by kind. SQLite's file of the same name says the same.

SET LOCAL lock_timeout = '5s';

-- What was counted so far are sums.
ALTER TABLE stat_deltas ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'add_up_to';
ALTER TABLE stat_deltas ALTER COLUMN kind DROP DEFAULT;

ALTER TABLE stat_totals
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'add_up_to',
    DROP CONSTRAINT stat_totals_pkey,
    ADD PRIMARY KEY (kind, origin, status);
ALTER TABLE stat_totals ALTER COLUMN kind DROP DEFAULT;

ALTER TABLE stat_seconds
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'add_up_to',
    DROP CONSTRAINT stat_seconds_pkey,
    ADD PRIMARY KEY (second, kind, latency);
ALTER TABLE stat_seconds ALTER COLUMN kind DROP DEFAULT;

-- Scheduled works are counted by kind without a look at their rows.
DROP INDEX works_scheduled;
CREATE INDEX works_scheduled ON works (run_at, kind) WHERE status = 'pending' AND run_at IS NOT NULL;

-- Letters of one kind, newest first.
CREATE INDEX dead_letters_kind ON dead_letters (kind, id);
