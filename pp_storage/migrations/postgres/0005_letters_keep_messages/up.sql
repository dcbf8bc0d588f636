-- Dead letters keep the properties of their messages. SQLite's file of the same name says the same.

SET LOCAL lock_timeout = '5s';

-- The properties and headers of the message, as the broker encoded them: redriving sends them again. NULL on letters of
-- works, and on letters that are older than this column.
ALTER TABLE dead_letters ADD COLUMN properties bytea;
