-- The whole schema: works with their events, and the dead letters. PostgreSQL's file of the same name says why.
-- Moments are Unix milliseconds by the database's clock.

CREATE TABLE works (
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

CREATE INDEX works_unfinished ON works (due_at) WHERE status IN ('pending', 'running');
CREATE INDEX works_api ON works (id) WHERE origin = 'api';
CREATE INDEX works_consumer ON works (id) WHERE origin = 'consumer';
CREATE INDEX works_rare ON works (status, id DESC) WHERE status IN ('failed', 'cancelled');
CREATE INDEX works_created_on ON works (created_on);

CREATE TABLE events (
    -- With one writer, the order of ids is the order of commits.
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    work_id    INTEGER NOT NULL,
    created_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    generation INTEGER NOT NULL,
    variable   TEXT NOT NULL CONSTRAINT events_variable CHECK (variable IN (
        'work/created', 'compute/start', 'compute/stop', 'compute/result', 'compute/error',
        'work/updated', 'work/cancelled', 'work/redriven'
    )),
    value      TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX events_work_id ON events (work_id, id);

CREATE TABLE dead_letters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    work_id    INTEGER,
    generation INTEGER,
    message_id TEXT,
    body       BLOB,
    reason     TEXT NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),

    CONSTRAINT dead_letters_of_something CHECK (work_id IS NOT NULL OR body IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX dead_letters_work ON dead_letters (work_id, generation) WHERE work_id IS NOT NULL;
