SET LOCAL lock_timeout = '5s';

DROP TABLE audit;
DROP TABLE api_keys;
