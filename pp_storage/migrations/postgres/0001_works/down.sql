DROP TABLE dead_letters;
DROP TABLE events;
DROP TABLE works;
DROP TYPE event_variable;
DROP TYPE work_status;
DROP TYPE work_origin;
