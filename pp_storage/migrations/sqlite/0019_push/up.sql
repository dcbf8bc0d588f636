-- Kinds whose works are pushed to a URL, the secrets that sign what is pushed, and notices of finished works. PostgreSQL's
-- file of the same name says the same. The table of kinds is made anew, since SQLite adds no stored column.

CREATE TABLE kinds_with_push (
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
    is_pulled      INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(declared ->> 'delivery' IN ('pull', 'push'), 0)) STORED,
    notify         TEXT GENERATED ALWAYS AS (coalesce(overrides ->> 'notify', declared ->> '$.policy.notify')) STORED,
    version        INTEGER NOT NULL DEFAULT 1,
    worker_seen_on INTEGER,

    CONSTRAINT kinds_name_form CHECK (length(name) BETWEEN 1 AND 100 AND name NOT GLOB '*[^a-z0-9_.]*')
) STRICT;
INSERT INTO kinds_with_push (name, declared, declared_on, replaced, replaced_on, overrides, version, worker_seen_on)
SELECT name, declared, declared_on, replaced, replaced_on, overrides, version, worker_seen_on FROM kinds;
DROP TABLE kinds;
ALTER TABLE kinds_with_push RENAME TO kinds;

CREATE TABLE kind_secrets (
    kind           TEXT PRIMARY KEY,
    secret         TEXT NOT NULL,
    previous       TEXT,
    previous_until INTEGER,
    set_on         INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;

ALTER TABLE works ADD COLUMN notify TEXT;

-- Enqueues the notice of a finished work, given by its id, in the transaction that finishes it. The work is shown as the
-- API shows it.
CREATE VIEW finished_works AS SELECT id FROM works WHERE status IN ('done', 'failed', 'cancelled');
CREATE TRIGGER finished_works_tell INSTEAD OF INSERT ON finished_works
BEGIN
    INSERT INTO works (kind, work_code, origin, message_id, due_at, args)
    SELECT 'pp.notice',
        'app-' || (
            WITH RECURSIVE place (number, letter) AS (
                SELECT 1, abs(random() % 62) + 1
                UNION ALL SELECT number + 1, abs(random() % 62) + 1 FROM place WHERE number < 10
            )
            SELECT group_concat(
                substr('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', letter, 1), ''
            ) FROM place
        ),
        'app', works.id || '-' || works.version, CAST(unixepoch('subsec') * 1000 AS INTEGER),
        '{"url":' || json_quote(coalesce(nullif(works.notify, ''), kinds.notify))
            || ',"type":"work.' || works.status
            || '","timestamp":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            || '","data":{"id":' || works.id || ',"work_code":' || json_quote(works.work_code)
            || CASE works.kind WHEN 'add_up_to' THEN ',"add_up_to":' || (works.args ->> 'add_up_to')
                ELSE ',"kind":' || json_quote(works.kind) || ',"args":' || works.args END
            || ',"done":' || iif(works.status = 'done', 'true', 'false')
            || ',"created_on":' || (works.created_on / 1000) || ',"updated_on":' || (works.updated_on / 1000)
            || ',"status":"' || works.status || '","result":' || coalesce(works.result, 'null')
            || ',"version":' || works.version
            || iif(works.kind = 'add_up_to', ',"kind":"add_up_to"', '')
            || coalesce(',"run_at":' || (works.run_at / 1000), '')
            || iif(works.unique_key IS NULL, '', ',"unique":' || json_quote(works.unique_key))
            || iif(works.error IS NULL, '', ',"error":' || json_quote(works.error))
            || iif(works.attempt > 1, ',"attempt":' || works.attempt, '')
            || '}}'
    FROM works LEFT JOIN kinds ON kinds.name = works.kind
    WHERE works.id = NEW.id AND coalesce(nullif(works.notify, ''), kinds.notify) IS NOT NULL;
    INSERT INTO events (work_id, generation, variable, value, status)
    SELECT id, generation, 'work/created', args, status FROM works
    WHERE kind = 'pp.notice' AND message_id = (SELECT id || '-' || version FROM works WHERE id = NEW.id);
    INSERT INTO stat_deltas (kind, origin, status, works)
    SELECT kind, origin, status, 1 FROM works
    WHERE kind = 'pp.notice' AND message_id = (SELECT id || '-' || version FROM works WHERE id = NEW.id);
END;

CREATE TRIGGER works_finished AFTER UPDATE OF status ON works
WHEN NEW.notify IS NOT NULL AND NEW.status IN ('done', 'failed', 'cancelled') AND NEW.status <> OLD.status
BEGIN
    INSERT INTO finished_works (id) VALUES (NEW.id);
END;
-- What is computed before it has a row is finished when it is inserted.
CREATE TRIGGER works_inserted_finished AFTER INSERT ON works
WHEN NEW.notify IS NOT NULL AND NEW.status IN ('done', 'failed', 'cancelled')
BEGIN
    INSERT INTO finished_works (id) VALUES (NEW.id);
END;
