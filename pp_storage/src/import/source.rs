//! Reads the tables of the original project.

use std::collections::HashMap;

use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, Text};
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

/// A row of its `works`. Times are Unix microseconds.
#[derive(Debug, QueryableByName)]
pub(super) struct Work {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Text)]
    pub(super) work_code: String,
    #[diesel(sql_type = Integer)]
    pub(super) add_up_to: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) created_on: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) updated_on: i64,
}

/// A row of its `events`.
#[derive(Debug)]
pub(super) struct SourceEvent {
    pub(super) variable: String,
    pub(super) value: String,
    pub(super) created_on: i64,
}

#[derive(QueryableByName)]
struct SourceEventRow {
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Text)]
    variable: String,
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
}

#[derive(QueryableByName)]
struct Highest {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The highest id, or 0 if there is no work. The query fails in a database of another project.
pub(super) fn highest_id(source: &mut PgConnection) -> QueryResult<i64> {
    let highest = "SELECT coalesce(max(id), 0)::bigint AS id, bool_or(done) FROM works";
    sql_query(highest).get_result(source).map(|Highest { id }| id)
}

/// The works after this id.
pub(super) fn works(source: &mut PgConnection, after: i64, limit: i64) -> QueryResult<Vec<Work>> {
    sql_query(
        "SELECT id::bigint, work_code::text, add_up_to,
            (extract(epoch FROM created_on) * 1000000)::bigint AS created_on,
            (extract(epoch FROM updated_on) * 1000000)::bigint AS updated_on
        FROM works WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(limit)
    .load(source)
}

/// The events of these works by their code, oldest first.
pub(super) fn histories(source: &mut PgConnection, works: &[Work]) -> QueryResult<HashMap<String, Vec<SourceEvent>>> {
    let codes: Vec<&str> = works.iter().map(|work| work.work_code.as_str()).collect();
    let rows: Vec<SourceEventRow> = sql_query(
        "SELECT work_code::text, variable::text, value::text,
            (extract(epoch FROM created_on) * 1000000)::bigint AS created_on
        FROM events WHERE work_code = ANY($1) ORDER BY id",
    )
    .bind::<Array<Text>, _>(codes)
    .load(source)?;
    let mut histories: HashMap<String, Vec<SourceEvent>> = HashMap::new();
    for row in rows {
        histories.entry(row.work_code).or_default().push(SourceEvent {
            variable: row.variable,
            value: row.value,
            created_on: row.created_on,
        });
    }
    Ok(histories)
}
