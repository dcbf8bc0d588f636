SET LOCAL lock_timeout = '5s';

DROP TABLE workers;
ALTER TABLE kinds
    DROP COLUMN is_open,
    DROP COLUMN is_pulled,
    ADD COLUMN is_sent boolean NOT NULL GENERATED ALWAYS AS (
        (declared IS NOT NULL OR name = 'add_up_to')
        AND NOT coalesce((overrides ->> 'paused')::boolean, (declared -> 'policy' ->> 'paused')::boolean, false)
    ) STORED;
ALTER TABLE works DROP COLUMN worker;
