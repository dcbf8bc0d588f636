-- A key may have a bound of the works that it creates in a day. PostgreSQL's file of the same name says why.

ALTER TABLE api_keys ADD COLUMN works_per_day INTEGER CONSTRAINT api_keys_works_per_day CHECK (works_per_day > 0);

CREATE TABLE key_works (
    key_id INTEGER PRIMARY KEY,
    day    INTEGER NOT NULL,
    works  INTEGER NOT NULL
) STRICT;
