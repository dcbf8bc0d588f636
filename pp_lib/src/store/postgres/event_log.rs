//! The history of works, read by work.

use async_trait::async_trait;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::failure::Failure;
use super::rows::{parsed, unix_seconds, within};
use crate::domain::{Event, PAGE_BYTES, WorkId};
use crate::store::{EventLog, Result};

/// The work, beside each of its events or, without any, beside nothing.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    variable: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    created_on: Option<PgTimestamp>,
}

impl Row {
    fn into_event(self, work: WorkId) -> Option<std::result::Result<Event, Failure>> {
        let (id, variable, value, created_on) = (self.id?, self.variable?, self.value?, self.created_on?);
        let event = || {
            Ok(Event {
                id,
                work_code: parsed(work.0, self.work_code.parse())?,
                variable: parsed(work.0, variable.parse())?,
                value,
                created_on: unix_seconds(created_on),
            })
        };
        Some(event())
    }
}

#[async_trait]
impl EventLog for PostgresStore {
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>> {
        self.run(move |connection| {
            let part = within(
                PAGE_BYTES,
                "octet_length(value)",
                "SELECT id, variable::text AS variable, value, created_on FROM events
                WHERE work_id = $1 AND id > $2 ORDER BY id LIMIT $3",
                "ORDER BY id",
            );
            let rows: Vec<Row> = sql_query(format!(
                "SELECT works.work_code, part.id, part.variable, part.value, part.created_on
                FROM works LEFT JOIN LATERAL ({part}) AS part ON true
                WHERE works.id = $1 AND works.deleted_on IS NULL
                ORDER BY part.id",
            ))
            .bind::<BigInt, _>(id.0)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(i64::from(limit))
            .load(connection)?;
            if rows.is_empty() {
                return Ok(None);
            }
            let events = rows.into_iter().filter_map(|row| row.into_event(id));
            events.collect::<std::result::Result<_, _>>().map(Some)
        })
        .await
    }
}
