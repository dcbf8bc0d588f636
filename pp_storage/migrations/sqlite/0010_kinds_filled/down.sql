-- The version before cannot hold works or dead letters of other kinds: then this fails, and the constraint says why.
CREATE TABLE refused (
    one INTEGER CONSTRAINT there_are_works_or_dead_letters_of_other_kinds_than_add_up_to CHECK (one IS NULL)
) STRICT;
INSERT INTO refused
SELECT 1 FROM (SELECT kind FROM works UNION ALL SELECT kind FROM dead_letters) WHERE kind <> 'add_up_to' LIMIT 1;
DROP TABLE refused;

DROP INDEX works_kind;
