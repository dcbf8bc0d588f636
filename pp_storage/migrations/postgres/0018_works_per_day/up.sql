-- A key may have a bound of the works that it creates in a day. SQLite's file of the same name says the same.

SET LOCAL lock_timeout = '5s';

ALTER TABLE api_keys
    -- NULL where there is no bound.
    ADD COLUMN works_per_day bigint CONSTRAINT api_keys_works_per_day CHECK (works_per_day > 0);

-- The works of bounded keys on the last day on which they created any. It is apart from the keys because it changes often.
CREATE TABLE key_works (
    key_id bigint PRIMARY KEY,
    -- Since 1970, in UTC.
    day    bigint NOT NULL,
    works  bigint NOT NULL
) WITH (fillfactor = 50);
