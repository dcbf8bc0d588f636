-- Works that begin later, dead letters that are run again, and the idempotency keys of requests. PostgreSQL's file of
-- the same name says why.

ALTER TABLE works ADD COLUMN run_at INTEGER;

ALTER TABLE dead_letters ADD COLUMN due_at INTEGER;
CREATE UNIQUE INDEX dead_letters_message ON dead_letters (message_id) WHERE work_id IS NULL;
CREATE INDEX dead_letters_due ON dead_letters (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE idempotency_keys (
    scope       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    seed        TEXT NOT NULL,
    held_until  INTEGER NOT NULL,
    expires_on  INTEGER NOT NULL,
    status      INTEGER,
    headers     TEXT,
    body        BLOB,

    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key),
    CONSTRAINT idempotency_keys_answer CHECK ((status IS NULL) = (body IS NULL) AND (status IS NULL) = (headers IS NULL))
) STRICT;
CREATE INDEX idempotency_keys_expires_on ON idempotency_keys (expires_on);
