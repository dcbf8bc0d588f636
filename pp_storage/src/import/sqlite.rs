//! Writes a batch of works to SQLite in one transaction.

use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::{Row, Written};

#[derive(QueryableByName)]
struct Inserted {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Writes the works whose code does not exist yet. A work whose id is taken gets a new one.
pub(super) fn write(connection: &mut SqliteConnection, rows: &[Row]) -> QueryResult<Written> {
    connection.immediate_transaction(|connection| {
        let mut written = Written {
            works: 0,
            events: 0,
            done: 0,
        };
        for row in rows {
            if let Some(id) = insert(connection, row)? {
                insert_events(connection, id, row)?;
                written.works += 1;
                written.events += row.events.len() as u64;
                written.done += u64::from(row.result.is_some());
            }
        }
        Ok(written)
    })
}

fn insert(connection: &mut SqliteConnection, row: &Row) -> QueryResult<Option<i64>> {
    let inserted: Vec<Inserted> = sql_query(
        "INSERT INTO works (id, kind, work_code, origin, message_id, args, status, result, attempt, due_at,
             created_on, updated_on)
         SELECT iif(EXISTS (SELECT 1 FROM works WHERE id = ?1), NULL, ?1), 'add_up_to', ?2, ?3, 'import-' || ?2,
             '{\"add_up_to\":' || ?4 || '}', ?5, CAST(?6 AS TEXT), ?7,
             iif(?5 = 'pending', CAST(unixepoch('subsec') * 1000 AS INTEGER), NULL), ?8, ?9
         WHERE true
         ON CONFLICT DO NOTHING RETURNING id",
    )
    .bind::<BigInt, _>(row.id)
    .bind::<Text, _>(&row.work_code)
    .bind::<Text, _>(row.origin)
    .bind::<Integer, _>(row.add_up_to)
    .bind::<Text, _>(row.status)
    .bind::<Nullable<BigInt>, _>(row.result)
    .bind::<Integer, _>(row.attempt)
    .bind::<BigInt, _>(millis(row.created_on))
    .bind::<BigInt, _>(millis(row.updated_on))
    .load(connection)?;
    Ok(inserted.first().map(|row| row.id))
}

/// Inserts the events of the work and its change of the counters.
fn insert_events(connection: &mut SqliteConnection, id: i64, row: &Row) -> QueryResult<()> {
    for event in &row.events {
        sql_query(
            "INSERT INTO events (work_id, generation, variable, value, status, created_on) VALUES (?, 1, ?, ?, ?, ?)",
        )
        .bind::<BigInt, _>(id)
        .bind::<Text, _>(event.variable)
        .bind::<Text, _>(&event.value)
        .bind::<Text, _>(event.status)
        .bind::<BigInt, _>(millis(event.created_on))
        .execute(connection)?;
    }
    sql_query("INSERT INTO stat_deltas (kind, origin, status, works) VALUES ('add_up_to', ?, ?, 1)")
        .bind::<Text, _>(row.origin)
        .bind::<Text, _>(row.status)
        .execute(connection)
        .map(drop)
}

fn millis(microseconds: i64) -> i64 {
    microseconds.div_euclid(1_000)
}
