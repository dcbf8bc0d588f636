DROP TRIGGER works_finished;
DROP TRIGGER works_inserted_finished;
DROP VIEW finished_works;
ALTER TABLE works DROP COLUMN notify;
DROP TABLE kind_secrets;

CREATE TABLE kinds_without_push (
    name           TEXT PRIMARY KEY,
    declared       TEXT,
    declared_on    INTEGER,
    replaced       TEXT,
    replaced_on    INTEGER,
    overrides      TEXT NOT NULL DEFAULT '{}',
    is_open        INTEGER NOT NULL GENERATED ALWAYS AS (
        (declared IS NOT NULL OR name = 'add_up_to')
        AND NOT coalesce(overrides ->> 'paused', declared ->> '$.policy.paused', 0)
    ) STORED,
    is_pulled      INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(declared ->> 'delivery' = 'pull', 0)) STORED,
    version        INTEGER NOT NULL DEFAULT 1,
    worker_seen_on INTEGER,

    CONSTRAINT kinds_name_form CHECK (length(name) BETWEEN 1 AND 100 AND name NOT GLOB '*[^a-z0-9_.]*')
) STRICT;
INSERT INTO kinds_without_push (name, declared, declared_on, replaced, replaced_on, overrides, version, worker_seen_on)
SELECT name, declared, declared_on, replaced, replaced_on, overrides, version, worker_seen_on FROM kinds;
DROP TABLE kinds;
ALTER TABLE kinds_without_push RENAME TO kinds;
