-- The version before cannot hold works or dead letters of other kinds: then this fails, and says so.
CREATE TABLE there_are_works_or_letters_of_other_kinds_than_add_up_to (one INTEGER CHECK (one IS NULL)) STRICT;
INSERT INTO there_are_works_or_letters_of_other_kinds_than_add_up_to
SELECT 1 FROM (SELECT kind FROM works UNION ALL SELECT kind FROM dead_letters) WHERE kind <> 'add_up_to' LIMIT 1;
DROP TABLE there_are_works_or_letters_of_other_kinds_than_add_up_to;

DROP INDEX works_kind;
