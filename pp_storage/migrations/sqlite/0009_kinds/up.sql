-- Works have a kind, and JSON for arguments and result. PostgreSQL's file of the same name says why. The table is made
-- anew, since SQLite changes no constraint.

CREATE TABLE works_of_kinds (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL,
    work_code   TEXT NOT NULL,
    origin      TEXT NOT NULL,
    message_id  TEXT NOT NULL,
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
        OR (origin = 'consumer' AND length(work_code) = 19 AND substr(work_code, 1, 9) = 'consumer-')
    ),
    CONSTRAINT works_message_id_length CHECK (length(message_id) BETWEEN 1 AND 255),
    CONSTRAINT works_status CHECK (status IN ('pending', 'running', 'done', 'failed', 'cancelled')),
    CONSTRAINT works_result_when_done CHECK ((status = 'done') = (result IS NOT NULL)),
    CONSTRAINT works_counters CHECK (version >= 1 AND generation >= 1 AND attempt >= 1 AND lost_leases >= 0),
    CONSTRAINT works_pending_is_due CHECK (due_at IS NULL OR status = 'pending'),
    CONSTRAINT works_running_has_lease CHECK ((lease_until IS NOT NULL) = (status = 'running'))
) STRICT;

INSERT INTO works_of_kinds (id, kind, args, result, due_at, lease_until,
    work_code, origin, message_id, status, version, generation, attempt, failures, lost_leases, run_at, due_set_on,
    sent_at, created_on, updated_on, deleted_on)
SELECT id, 'add_up_to', '{"add_up_to":' || add_up_to || '}', CAST(result AS TEXT),
    iif(status = 'running', NULL, due_at), iif(status = 'running', due_at, NULL),
    work_code, origin, message_id, status, version, generation, attempt, failures, lost_leases, run_at, due_set_on,
    sent_at, created_on, updated_on, deleted_on
FROM works ORDER BY id;

-- The numbers of works go on from where they are, whatever was purged.
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'works') WHERE name = 'works_of_kinds'
    AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'works');
INSERT INTO sqlite_sequence (name, seq)
SELECT 'works_of_kinds', seq FROM sqlite_sequence WHERE name = 'works' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'works_of_kinds');
DROP TABLE works;
ALTER TABLE works_of_kinds RENAME TO works;

CREATE INDEX works_due ON works (kind, due_at) WHERE status = 'pending';
CREATE INDEX works_running ON works (id) WHERE status = 'running';
CREATE INDEX works_created_on ON works (created_on);
CREATE INDEX works_done ON works (origin) WHERE status = 'done' AND deleted_on IS NULL;
CREATE INDEX works_open ON works (status, origin) WHERE status IN ('pending', 'running');
CREATE INDEX works_ended ON works (status, origin) WHERE status IN ('failed', 'cancelled') AND deleted_on IS NULL;
CREATE INDEX works_scheduled ON works (run_at, status) WHERE status = 'pending' AND run_at IS NOT NULL;

ALTER TABLE dead_letters ADD COLUMN kind TEXT NOT NULL DEFAULT 'add_up_to';
DROP INDEX dead_letters_message;
CREATE UNIQUE INDEX dead_letters_message ON dead_letters (message_id, kind) WHERE work_id IS NULL;
