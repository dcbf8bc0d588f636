-- API keys, and who changed what. SQLite's file of the same name says the same.

CREATE TABLE api_keys (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL,
    -- SHA-256 of the key. The key itself is kept nowhere.
    digest     bytea NOT NULL,
    scopes     text NOT NULL,
    created_on timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    -- NULL while the key is valid.
    revoked_on timestamptz,

    CONSTRAINT api_keys_digest UNIQUE (digest),
    CONSTRAINT api_keys_digest_length CHECK (octet_length(digest) = 32),
    CONSTRAINT api_keys_name_length CHECK (octet_length(name) BETWEEN 1 AND 100)
);
-- A name belongs to one valid key.
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_on IS NULL;

CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_on timestamptz NOT NULL DEFAULT now(),
    -- Who did it: a key, an operator's command line, a worker; `open` where no keys are asked for.
    principal  text COLLATE "C" NOT NULL,
    action     text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL,
    details    json NOT NULL
);
CREATE INDEX audit_created_on ON audit (created_on);
