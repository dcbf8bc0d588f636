-- Searches for works of one kind, newest first. PostgreSQL's file of the same name says why; what else is in it was done
-- by the migration before.

CREATE INDEX works_kind ON works (kind, id) WHERE kind <> 'add_up_to' AND deleted_on IS NULL;
