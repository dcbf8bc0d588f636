//! The statement that creates works.

use std::collections::HashMap;

use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{OptionalExtension as _, QueryResult, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::deltas::{self, Moved};
use super::rows::{NOW, WORK, WorkRow, insert_events, json_rows};
use crate::domain::{CreatedWork, Origin, Variable, Work, value_of_args};
use crate::store::NewWork;

/// Inserts works; returns, in their order, the works there are then, inserted now or before, and nothing where another
/// work has the code.
pub(crate) fn create(connection: &mut SqliteConnection, works: &[NewWork]) -> QueryResult<Vec<Option<CreatedWork>>> {
    let input = json_rows(works.iter().map(|work| {
        json!([
            work.work_code,
            work.work_code.origin().as_str(),
            work.message_id.as_str(),
            work.args.as_str(),
            work.run_at.map(|run_at| run_at.saturating_mul(1000)),
            work.kind,
            work.unique,
            work.notify
        ])
    }));
    // `WHERE true` tells the parser that ON CONFLICT is not a join's ON.
    let inserted: Vec<WorkRow> = sql_query(format!(
        "INSERT INTO works (work_code, origin, message_id, args, run_at, due_at, kind, unique_key, notify)
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, max({NOW}, coalesce(value ->> 4, 0)),
                value ->> 5, value ->> 6,
                coalesce(value ->> 7, (SELECT '' FROM kinds WHERE name = value ->> 5 AND notify IS NOT NULL))
         FROM json_each(?) WHERE true
         ON CONFLICT DO NOTHING RETURNING {WORK}"
    ))
    .bind::<Text, _>(input)
    .load(connection)?;
    deltas::record(connection, inserted.iter().map(|row| Moved::new(row.id)))?;
    let mut rows = by_key(inserted);
    record_created(connection, works, &rows)?;
    if rows.len() < works.len() {
        let skipped = works.iter().filter(|work| !rows.contains_key(&key_of(work)));
        let skipped = json_rows(skipped.map(|work| json!([work.message_id.as_str(), work.kind])));
        let present = sql_query(format!(
            "SELECT {WORK} FROM works
             WHERE (message_id, kind) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
        ));
        rows.extend(by_key(present.bind::<Text, _>(skipped).load(connection)?));
    }
    let mut answers = Vec::with_capacity(works.len());
    for work in works {
        let answer = match rows.remove(&key_of(work)) {
            Some(row) => Some((row.into_work()?, false)),
            None => unfinished(connection, work)?.map(|work| (work, true)),
        };
        answers.push(answer.map(|(work, duplicate)| CreatedWork { work, duplicate }));
    }
    Ok(answers)
}

/// The unfinished work that has the `unique` of this one.
fn unfinished(connection: &mut SqliteConnection, work: &NewWork) -> QueryResult<Option<Work>> {
    let Some((kind, unique)) = work.unique_key() else {
        return Ok(None);
    };
    let row: Option<WorkRow> = sql_query(format!(
        "SELECT {WORK} FROM works WHERE kind = ?1 AND unique_key = ?2 AND status IN ('pending', 'running')"
    ))
    .bind::<Text, _>(kind)
    .bind::<Text, _>(unique)
    .get_result(connection)
    .optional()?;
    row.map(WorkRow::into_work).transpose()
}

/// Records that works were created, in the order of their ids; those of the consumer begin with their start.
fn record_created(connection: &mut SqliteConnection, works: &[NewWork], rows: &Rows) -> QueryResult<()> {
    let told = works.iter().filter(|work| work.work_code.origin() != Origin::Consumer);
    let inserted = told.filter_map(|work| Some((rows.get(&key_of(work))?.id, work)));
    let mut created: Vec<(i64, &NewWork)> = inserted.collect();
    created.sort_unstable_by_key(|(id, _)| *id);
    let event = |(id, work): (i64, &NewWork)| {
        let value = value_of_args(&work.kind, &work.args);
        json!([id, 1, Variable::WorkCreated.as_str(), value])
    };
    insert_events(connection, json_rows(created.into_iter().map(event)))
}

/// Rows by their `message_id` and kind.
type Rows = HashMap<(String, String), WorkRow>;

fn by_key(rows: Vec<WorkRow>) -> Rows {
    rows.into_iter().map(|row| (row.key(), row)).collect()
}

fn key_of(work: &NewWork) -> (String, String) {
    let (message_id, kind) = work.key();
    (message_id.to_owned(), kind.to_owned())
}
