-- SQLite has one writer, and its events have their ids as key: nothing is needed here.
SELECT 1;
