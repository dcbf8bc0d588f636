-- Works have the origin `app` and a `unique_key`. PostgreSQL's file of the same name says why. The table is made anew,
-- since SQLite changes no constraint. There is no function: a transaction of the library inserts the rows itself.

CREATE TABLE works_of_apps (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL,
    work_code   TEXT NOT NULL,
    origin      TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    unique_key  TEXT,
    args        TEXT NOT NULL,
    status      TEXT NOT NULL DEFAULT 'pending',
    result      TEXT,
    error       TEXT,
    version     INTEGER NOT NULL DEFAULT 1,
    generation  INTEGER NOT NULL DEFAULT 1,
    attempt     INTEGER NOT NULL DEFAULT 1,
    failures    INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    lost_leases INTEGER NOT NULL DEFAULT 0,
    run_at      INTEGER,
    due_at      INTEGER,
    lease_until INTEGER,
    due_set_on  INTEGER,
    claim       INTEGER,
    sent_at     INTEGER,
    created_on  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_on  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    deleted_on  INTEGER,

    CONSTRAINT works_work_code_key UNIQUE (work_code),
    CONSTRAINT works_message_id_key UNIQUE (message_id, kind),
    CONSTRAINT works_kind_form CHECK (length(kind) BETWEEN 1 AND 100 AND kind NOT GLOB '*[^a-z0-9_.]*'),
    CONSTRAINT works_work_code_form CHECK (
        (origin = 'api' AND length(work_code) = 14 AND substr(work_code, 1, 4) = 'api-')
        OR (origin = 'app' AND length(work_code) = 14 AND substr(work_code, 1, 4) = 'app-')
        OR (origin = 'consumer' AND length(work_code) = 19 AND substr(work_code, 1, 9) = 'consumer-')
    ),
    CONSTRAINT works_message_id_length CHECK (length(message_id) BETWEEN 1 AND 255),
    CONSTRAINT works_unique_key_length CHECK (length(CAST(unique_key AS BLOB)) BETWEEN 1 AND 255),
    CONSTRAINT works_status CHECK (status IN ('pending', 'running', 'done', 'failed', 'cancelled')),
    CONSTRAINT works_result_when_done CHECK ((status = 'done') = (result IS NOT NULL)),
    CONSTRAINT works_counters CHECK (version >= 1 AND generation >= 1 AND attempt >= 1 AND lost_leases >= 0),
    CONSTRAINT works_pending_is_due CHECK (due_at IS NULL OR status = 'pending'),
    CONSTRAINT works_running_has_lease CHECK ((lease_until IS NOT NULL) = (status = 'running'))
) STRICT;

INSERT INTO works_of_apps (id, kind, work_code, origin, message_id, args, status, result, error, version, generation, attempt,
    failures, lost_leases, run_at, due_at, lease_until, due_set_on, claim, sent_at, created_on, updated_on, deleted_on)
SELECT id, kind, work_code, origin, message_id, args, status, result, error, version, generation, attempt,
    failures, lost_leases, run_at, due_at, lease_until, due_set_on, claim, sent_at, created_on, updated_on, deleted_on
FROM works ORDER BY id;

-- The numbers of works go on from where they are, whatever was purged.
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'works') WHERE name = 'works_of_apps'
    AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'works');
INSERT INTO sqlite_sequence (name, seq)
SELECT 'works_of_apps', seq FROM sqlite_sequence WHERE name = 'works' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'works_of_apps');
DROP TABLE works;
ALTER TABLE works_of_apps RENAME TO works;

CREATE INDEX works_due ON works (kind, due_at) WHERE status = 'pending';
CREATE INDEX works_running ON works (id) WHERE status = 'running';
CREATE INDEX works_created_on ON works (created_on);
CREATE INDEX works_done ON works (origin) WHERE status = 'done' AND deleted_on IS NULL;
CREATE INDEX works_open ON works (status, origin) WHERE status IN ('pending', 'running');
CREATE INDEX works_ended ON works (status, origin) WHERE status IN ('failed', 'cancelled') AND deleted_on IS NULL;
CREATE INDEX works_scheduled ON works (run_at, status, kind) WHERE status = 'pending' AND run_at IS NOT NULL;
CREATE INDEX works_kind ON works (kind, status, origin) WHERE kind <> 'add_up_to' AND deleted_on IS NULL;
CREATE UNIQUE INDEX works_unique ON works (kind, unique_key)
    WHERE unique_key IS NOT NULL AND status IN ('pending', 'running');
CREATE INDEX works_unique_key ON works (kind, unique_key) WHERE unique_key IS NOT NULL;
