SET LOCAL lock_timeout = '5s';

DROP TABLE key_works;
ALTER TABLE api_keys DROP COLUMN works_per_day;
