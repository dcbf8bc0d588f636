//! The history of a work.

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Text};
use diesel::{OptionalExtension as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::SqliteStore;
use super::rows::{load_within, parsed, unix_seconds};
use crate::domain::{Event, PAGE_BYTES, WorkCode, WorkId};
use crate::store::{EventLog, Result};

#[derive(QueryableByName)]
struct CodeRow {
    #[diesel(sql_type = Text)]
    work_code: String,
}

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    variable: String,
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
}

impl EventRow {
    fn into_event(self, work_code: &WorkCode) -> QueryResult<Event> {
        Ok(Event {
            id: self.id,
            work_code: work_code.clone(),
            variable: parsed("variable", self.variable.parse())?,
            value: self.value,
            created_on: unix_seconds(self.created_on),
        })
    }
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>> {
        self.read(move |connection| {
            let work = sql_query("SELECT work_code FROM works WHERE id = ? AND deleted_on IS NULL")
                .bind::<BigInt, _>(id.0)
                .get_result::<CodeRow>(connection)
                .optional()?;
            let Some(work) = work else { return Ok(None) };
            let work_code = parsed("work_code", work.work_code.parse())?;
            let select = sql_query(
                "SELECT id, variable, value, created_on FROM events WHERE work_id = ? AND id > ? ORDER BY id LIMIT ?",
            )
            .bind::<BigInt, _>(id.0)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(i64::from(limit));
            let rows = load_within(connection, select, PAGE_BYTES, |row: &EventRow| row.value.len())?;
            rows.into_iter()
                .map(|row| row.into_event(&work_code))
                .collect::<QueryResult<Vec<_>>>()
                .map(Some)
        })
        .await
    }
}
