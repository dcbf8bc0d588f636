-- What programs declare of their kinds, and what an operator sets over it. SQLite's file of the same name says the same.

CREATE TABLE kinds (
    name           text COLLATE "C" PRIMARY KEY,
    -- The newest declaration: policy and schemas. NULL where nobody has declared the kind.
    declared       json,
    declared_on    timestamptz,
    -- The declaration before it. Another program may still have that one.
    replaced       json,
    replaced_on    timestamptz,
    -- Settings of the policy that an operator has set.
    overrides      json NOT NULL DEFAULT '{}',
    -- True if works of the kind are sent to its queue.
    is_sent        boolean NOT NULL GENERATED ALWAYS AS (
        (declared IS NOT NULL OR name = 'add_up_to')
        AND NOT coalesce((overrides ->> 'paused')::boolean, (declared -> 'policy' ->> 'paused')::boolean, false)
    ) STORED,
    version        bigint NOT NULL DEFAULT 1,
    -- When a worker with a handler for the kind was heard of last.
    worker_seen_on timestamptz,

    CONSTRAINT kinds_name_form CHECK (name ~ '^[a-z0-9_]+(\.[a-z0-9_]+)*$' AND length(name) <= 100)
);
-- The built-in kind needs no declaration.
INSERT INTO kinds (name) VALUES ('add_up_to');
