-- Searches for works of one kind. PostgreSQL's file of the same name says why; what else is in it was done
-- by the migration before.

CREATE INDEX works_kind ON works (kind, status, origin) WHERE kind <> 'add_up_to' AND deleted_on IS NULL;
