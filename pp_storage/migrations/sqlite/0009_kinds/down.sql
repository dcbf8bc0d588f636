CREATE TABLE works_of_sums (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    work_code   TEXT NOT NULL,
    origin      TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    add_up_to   INTEGER NOT NULL,
    status      TEXT NOT NULL DEFAULT 'pending',
    result      INTEGER,
    version     INTEGER NOT NULL DEFAULT 1,
    generation  INTEGER NOT NULL DEFAULT 1,
    attempt     INTEGER NOT NULL DEFAULT 1,
    lost_leases INTEGER NOT NULL DEFAULT 0,
    due_at      INTEGER,
    sent_at     INTEGER,
    created_on  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_on  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    deleted_on  INTEGER,
    run_at      INTEGER,
    failures    INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    due_set_on  INTEGER,

    CONSTRAINT works_work_code_key UNIQUE (work_code),
    CONSTRAINT works_message_id_key UNIQUE (message_id),
    CONSTRAINT works_work_code_form CHECK (
        (origin = 'api' AND length(work_code) = 14 AND substr(work_code, 1, 4) = 'api-')
        OR (origin = 'consumer' AND length(work_code) = 19 AND substr(work_code, 1, 9) = 'consumer-')
    ),
    CONSTRAINT works_message_id_length CHECK (length(message_id) BETWEEN 1 AND 255),
    CONSTRAINT works_add_up_to_range CHECK (add_up_to BETWEEN 1 AND 2147483647),
    CONSTRAINT works_status CHECK (status IN ('pending', 'running', 'done', 'failed', 'cancelled')),
    CONSTRAINT works_result_when_done CHECK ((status = 'done') = (result IS NOT NULL)),
    CONSTRAINT works_counters CHECK (version >= 1 AND generation >= 1 AND attempt >= 1 AND lost_leases >= 0),
    CONSTRAINT works_finished_is_not_due CHECK (due_at IS NULL OR status IN ('pending', 'running')),
    CONSTRAINT works_running_has_lease CHECK (due_at IS NOT NULL OR status <> 'running')
) STRICT;

INSERT INTO works_of_sums (id, add_up_to, result, due_at,
    work_code, origin, message_id, status, version, generation, attempt, failures, lost_leases, run_at, due_set_on,
    sent_at, created_on, updated_on, deleted_on)
SELECT id, args ->> 'add_up_to', CAST(result AS INTEGER), coalesce(lease_until, due_at),
    work_code, origin, message_id, status, version, generation, attempt, failures, lost_leases, run_at, due_set_on,
    sent_at, created_on, updated_on, deleted_on
FROM works ORDER BY id;

-- The numbers of works go on from where they are, whatever was purged.
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'works') WHERE name = 'works_of_sums'
    AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'works');
INSERT INTO sqlite_sequence (name, seq)
SELECT 'works_of_sums', seq FROM sqlite_sequence WHERE name = 'works' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'works_of_sums');
DROP TABLE works;
ALTER TABLE works_of_sums RENAME TO works;

CREATE INDEX works_unfinished ON works (due_at) WHERE status IN ('pending', 'running');
CREATE INDEX works_created_on ON works (created_on);
CREATE INDEX works_done ON works (origin) WHERE status = 'done' AND deleted_on IS NULL;
CREATE INDEX works_open ON works (status, origin) WHERE status IN ('pending', 'running');
CREATE INDEX works_ended ON works (status, origin) WHERE status IN ('failed', 'cancelled') AND deleted_on IS NULL;
CREATE INDEX works_scheduled ON works (run_at, status) WHERE status = 'pending' AND run_at IS NOT NULL;

DROP INDEX dead_letters_message;
ALTER TABLE dead_letters DROP COLUMN kind;
CREATE UNIQUE INDEX dead_letters_message ON dead_letters (message_id) WHERE work_id IS NULL;
