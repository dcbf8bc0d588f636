SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF EXISTS (SELECT FROM works WHERE origin = 'app') THEN
        RAISE EXCEPTION 'there are works of origin app, which the version before cannot hold';
    END IF;
END
$$;

DROP FUNCTION pp_enqueue(text, json, json);
DELETE FROM stat_deltas WHERE origin = 'app';
DELETE FROM stat_totals WHERE origin = 'app';
-- Its indexes go with the column. The value stays in the type, which gives none back.
ALTER TABLE works
    DROP COLUMN unique_key,
    DROP CONSTRAINT works_work_code_form,
    ADD CONSTRAINT works_work_code_form CHECK (
        length(work_code) = CASE origin WHEN 'api' THEN 14 ELSE 19 END
        AND starts_with(work_code, CASE origin WHEN 'api' THEN 'api-' ELSE 'consumer-' END)
    );
