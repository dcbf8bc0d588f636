-- API keys, and who changed what. PostgreSQL's file of the same name says why.

CREATE TABLE api_keys (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL CONSTRAINT api_keys_name_length CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 100),
    digest     BLOB NOT NULL CONSTRAINT api_keys_digest UNIQUE CHECK (length(digest) = 32),
    scopes     TEXT NOT NULL,
    created_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    created_by TEXT NOT NULL,
    revoked_on INTEGER
) STRICT;
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_on IS NULL;

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    created_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    principal  TEXT NOT NULL,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    details    TEXT NOT NULL
) STRICT;
CREATE INDEX audit_created_on ON audit (created_on);
