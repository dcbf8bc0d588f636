-- Works that begin later, dead letters that are run again, and the idempotency keys of requests. SQLite's file of the
-- same name says the same.

SET LOCAL lock_timeout = '5s';

-- When its creator wants it to run; NULL is at once. `due_at` is derived from it.
ALTER TABLE works ADD COLUMN run_at timestamptz;

-- A message that is to be sent again: when, NULL while nobody asks for it. A work's letter is deleted instead, since
-- its row runs again.
ALTER TABLE dead_letters ADD COLUMN due_at timestamptz;
-- One letter for a message, however often it is handed in.
CREATE UNIQUE INDEX dead_letters_message ON dead_letters (message_id) WHERE work_id IS NULL;
CREATE INDEX dead_letters_due ON dead_letters (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE idempotency_keys (
    -- Method, path and principal: the same key means something else elsewhere.
    scope       text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    -- A hash of the body.
    fingerprint bytea NOT NULL,
    -- What the request's identities are made of, however often it is tried.
    seed        text NOT NULL,
    -- Until when the one who works on it may be silent.
    held_until  timestamptz NOT NULL,
    expires_on  timestamptz NOT NULL,
    -- The answer, once there is one.
    status      integer,
    headers     text,
    body        bytea,

    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key),
    CONSTRAINT idempotency_keys_answer CHECK ((status IS NULL) = (body IS NULL) AND (status IS NULL) = (headers IS NULL))
);
CREATE INDEX idempotency_keys_expires_on ON idempotency_keys (expires_on);
