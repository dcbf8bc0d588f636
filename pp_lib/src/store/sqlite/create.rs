//! The statement that creates works.

use std::collections::HashMap;

use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::deltas::{self, Moved};
use super::rows::{NOW, WORK, WorkRow, json_rows};
use crate::domain::Work;
use crate::store::NewWork;

/// Inserts works; returns, in their order, the works there are then, inserted now or before, and nothing where another
/// work has the code.
pub(super) fn create(connection: &mut SqliteConnection, works: &[NewWork]) -> QueryResult<Vec<Option<Work>>> {
    let input = json_rows(works.iter().map(|work| {
        json!([
            work.work_code,
            work.work_code.origin().as_str(),
            work.message_id.as_str(),
            work.add_up_to,
            work.run_at.map(|run_at| run_at.saturating_mul(1000))
        ])
    }));
    // `WHERE true` tells the parser that ON CONFLICT is not a join's ON.
    let inserted: Vec<WorkRow> = sql_query(format!(
        "INSERT INTO works (work_code, origin, message_id, add_up_to, run_at, due_at)
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, max({NOW}, coalesce(value ->> 4, 0))
         FROM json_each(?) WHERE true
         ON CONFLICT DO NOTHING RETURNING {WORK}"
    ))
    .bind::<Text, _>(input)
    .load(connection)?;
    sql_query(
        "INSERT INTO events (work_id, generation, variable, value, status)
         SELECT works.id, generation, 'work/created', add_up_to, status
         FROM json_each(?) AS input JOIN works ON works.id = input.value WHERE origin = 'api' ORDER BY works.id",
    )
    .bind::<Text, _>(json_rows(inserted.iter().map(|row| json!(row.id))))
    .execute(connection)?;
    deltas::record(connection, inserted.iter().map(|row| Moved::new(row.id)))?;

    let mut rows: HashMap<String, WorkRow> = by_message_id(inserted);
    if rows.len() < works.len() {
        let skipped = works.iter().filter(|work| !rows.contains_key(work.message_id.as_str()));
        let skipped = json_rows(skipped.map(|work| json!(work.message_id.as_str())));
        let present = sql_query(format!(
            "SELECT {WORK} FROM works WHERE message_id IN (SELECT value FROM json_each(?))"
        ));
        rows.extend(by_message_id(present.bind::<Text, _>(skipped).load(connection)?));
    }
    works
        .iter()
        .map(|work| {
            rows.remove(work.message_id.as_str())
                .map(WorkRow::into_work)
                .transpose()
        })
        .collect()
}

fn by_message_id(rows: Vec<WorkRow>) -> HashMap<String, WorkRow> {
    rows.into_iter().map(|row| (row.message_id.clone(), row)).collect()
}
