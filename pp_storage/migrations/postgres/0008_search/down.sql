DROP INDEX works_scheduled;
DROP INDEX works_created_on;
DROP INDEX works_ended;
DROP INDEX works_open;
DROP INDEX works_done;

CREATE INDEX works_api ON works (id) WHERE origin = 'api';
CREATE INDEX works_consumer ON works (id) WHERE origin = 'consumer';
CREATE INDEX works_rare ON works (status, id DESC) WHERE status IN ('failed', 'cancelled');
CREATE INDEX works_created_on ON works USING brin (created_on) WITH (pages_per_range = 32, autosummarize = on);
