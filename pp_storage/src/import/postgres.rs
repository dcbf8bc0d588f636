//! Writes a batch of works to PostgreSQL in one statement.

use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::{Row, Written};

#[derive(QueryableByName)]
struct Counts {
    #[diesel(sql_type = BigInt)]
    works: i64,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = BigInt)]
    done: i64,
}

/// Reserves the ids up to this one, so that the database does not give them to new works.
pub(super) fn reserve(connection: &mut PgConnection, highest: i64) -> QueryResult<()> {
    sql_query(
        "SELECT setval(pg_get_serial_sequence('works', 'id'), $1)
        WHERE $1 > coalesce(pg_sequence_last_value(pg_get_serial_sequence('works', 'id')::regclass), 0)",
    )
    .bind::<BigInt, _>(highest)
    .execute(connection)
    .map(drop)
}

/// A work whose id is taken gets a new one.
const WRITE: &str = "
    WITH input AS MATERIALIZED (
        SELECT * FROM unnest($1, $2, $3::work_origin[], $4, $5::work_status[], $6, $7, $8, $9)
            AS input (id, work_code, origin, add_up_to, status, result, attempt, created_on, updated_on)
    ), inserted AS (
        INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result, attempt, due_at,
            created_on, updated_on)
        SELECT CASE WHEN EXISTS (SELECT FROM works WHERE works.id = input.id)
                THEN nextval(pg_get_serial_sequence('works', 'id')) ELSE input.id END,
            'add_up_to', work_code, origin, 'import-' || work_code,
            ('{\"add_up_to\":' || add_up_to || '}')::json, status, to_json(result), attempt,
            CASE status WHEN 'pending' THEN now() END,
            'epoch'::timestamptz + created_on * interval '1 microsecond',
            'epoch'::timestamptz + updated_on * interval '1 microsecond'
        FROM input WHERE NOT EXISTS (SELECT FROM works WHERE works.work_code = input.work_code)
        ON CONFLICT DO NOTHING
        RETURNING id, work_code, origin, status
    ), logged AS (
        INSERT INTO events (work_id, generation, variable, value, status, created_on)
        SELECT inserted.id, 1, event.variable, event.value, event.status,
            'epoch'::timestamptz + event.created_on * interval '1 microsecond'
        FROM unnest($10, $11::event_variable[], $12, $13::work_status[], $14)
            WITH ORDINALITY AS event (work_code, variable, value, status, created_on, number)
        JOIN inserted USING (work_code)
        ORDER BY event.number
        RETURNING id
    ), counted AS (
        INSERT INTO stat_deltas (kind, origin, status, works)
        SELECT 'add_up_to', origin, status, count(*) FROM inserted GROUP BY origin, status
    )
    SELECT (SELECT count(*) FROM inserted) AS works, (SELECT count(*) FROM logged) AS events,
        (SELECT count(*) FROM inserted WHERE status = 'done') AS done";

/// Writes the works whose code does not exist yet.
pub(super) fn write(connection: &mut PgConnection, rows: &[Row]) -> QueryResult<Written> {
    let events = || {
        rows.iter()
            .flat_map(|row| row.events.iter().map(move |event| (row, event)))
    };
    let counts: Counts = sql_query(WRITE)
        .bind::<Array<BigInt>, _>(column(rows, |row| row.id))
        .bind::<Array<Text>, _>(column(rows, |row| row.work_code.as_str()))
        .bind::<Array<Text>, _>(column(rows, |row| row.origin))
        .bind::<Array<Integer>, _>(column(rows, |row| row.add_up_to))
        .bind::<Array<Text>, _>(column(rows, |row| row.status))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.result))
        .bind::<Array<Integer>, _>(column(rows, |row| row.attempt))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.created_on))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.updated_on))
        .bind::<Array<Text>, _>(events().map(|(row, _)| row.work_code.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(events().map(|(_, event)| event.variable).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(events().map(|(_, event)| event.value.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(events().map(|(_, event)| event.status).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(events().map(|(_, event)| event.created_on).collect::<Vec<_>>())
        .get_result(connection)?;
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    Ok(Written {
        works: count(counts.works),
        events: count(counts.events),
        done: count(counts.done),
    })
}

fn column<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
