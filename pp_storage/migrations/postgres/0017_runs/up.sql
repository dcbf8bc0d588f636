-- Kinds whose works are claimed by workers over HTTP, and the workers that were heard of. SQLite's file of the same name
-- says the same.

SET LOCAL lock_timeout = '5s';

-- Who has a running work: the name of a worker, behind `consumer:` for PP's own.
ALTER TABLE works ADD COLUMN worker text;

ALTER TABLE kinds
    DROP COLUMN is_sent,
    -- True if works of the kind are begun: it is declared and not paused.
    ADD COLUMN is_open boolean NOT NULL GENERATED ALWAYS AS (
        (declared IS NOT NULL OR name = 'add_up_to')
        AND NOT coalesce((overrides ->> 'paused')::boolean, (declared -> 'policy' ->> 'paused')::boolean, false)
    ) STORED,
    -- True if its works are claimed by workers and never sent to a queue.
    ADD COLUMN is_pulled boolean NOT NULL GENERATED ALWAYS AS (
        coalesce(declared ->> 'delivery' = 'pull', false)
    ) STORED;

CREATE TABLE workers (
    name    text COLLATE "C" PRIMARY KEY,
    -- The kinds that it asks for or has handlers for: an array of names.
    kinds   json NOT NULL,
    since   timestamptz NOT NULL DEFAULT now(),
    seen_on timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX workers_seen_on ON workers (seen_on);
