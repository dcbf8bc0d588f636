-- Dead letters keep the properties of their messages. PostgreSQL's file of the same name says why.

ALTER TABLE dead_letters ADD COLUMN properties BLOB;
