-- Kinds whose works are claimed by workers over HTTP, and the workers that were heard of. PostgreSQL's file of the same
-- name says the same. The table of kinds is made anew, since SQLite adds no stored column.

ALTER TABLE works ADD COLUMN worker TEXT;

CREATE TABLE kinds_with_delivery (
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
INSERT INTO kinds_with_delivery (name, declared, declared_on, replaced, replaced_on, overrides, version, worker_seen_on)
SELECT name, declared, declared_on, replaced, replaced_on, overrides, version, worker_seen_on FROM kinds;
DROP TABLE kinds;
ALTER TABLE kinds_with_delivery RENAME TO kinds;

CREATE TABLE workers (
    name    TEXT PRIMARY KEY,
    kinds   TEXT NOT NULL,
    since   INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    seen_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;
CREATE INDEX workers_seen_on ON workers (seen_on);
