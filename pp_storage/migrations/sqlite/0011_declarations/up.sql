-- What programs declare of their kinds, and what an operator sets over it. PostgreSQL's file of the same name says the
-- same.

CREATE TABLE kinds (
    name           TEXT PRIMARY KEY,
    declared       TEXT,
    declared_on    INTEGER,
    replaced       TEXT,
    replaced_on    INTEGER,
    overrides      TEXT NOT NULL DEFAULT '{}',
    is_sent        INTEGER NOT NULL GENERATED ALWAYS AS (
        (declared IS NOT NULL OR name = 'add_up_to')
        AND NOT coalesce(overrides ->> 'paused', declared ->> '$.policy.paused', 0)
    ) STORED,
    version        INTEGER NOT NULL DEFAULT 1,
    worker_seen_on INTEGER,

    CONSTRAINT kinds_name_form CHECK (length(name) BETWEEN 1 AND 100 AND name NOT GLOB '*[^a-z0-9_.]*')
) STRICT;
INSERT INTO kinds (name) VALUES ('add_up_to');
