-- Works have a progress, and attempts that are put off an event. PostgreSQL's file of the same name says why. The table of
-- events is made anew, since SQLite changes no constraint.

ALTER TABLE works ADD COLUMN progress INTEGER;
ALTER TABLE works ADD COLUMN note TEXT;

CREATE TABLE events_with_progress (
    -- With one writer, the order of ids is the order of commits.
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    work_id    INTEGER NOT NULL,
    created_on INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    generation INTEGER NOT NULL,
    variable   TEXT NOT NULL CONSTRAINT events_variable CHECK (variable IN (
        'work/created', 'compute/start', 'compute/stop', 'compute/result', 'compute/error',
        'work/updated', 'work/cancelled', 'work/redriven',
        'compute/progress', 'compute/snoozed'
    )),
    value      TEXT NOT NULL DEFAULT '',
    status     TEXT
) STRICT;
INSERT INTO events_with_progress (id, work_id, created_on, generation, variable, value, status)
SELECT id, work_id, created_on, generation, variable, value, status FROM events ORDER BY id;

-- The numbers of events go on from where they are, whatever was purged.
INSERT INTO sqlite_sequence (name, seq) SELECT 'events_with_progress', 0
WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events_with_progress');
UPDATE sqlite_sequence SET seq = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)
WHERE name = 'events_with_progress';
DROP TABLE events;
ALTER TABLE events_with_progress RENAME TO events;
CREATE INDEX events_work_id ON events (work_id, id);
