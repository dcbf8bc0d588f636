//! The feed: with one writer the order of ids is the order of commits.

use std::sync::Arc;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::SqliteStore;
use super::rows::{load_within, parsed, unix_seconds};
use crate::domain::{Event, Position, Snapshot, WorkId};
use crate::store::change_log::is_cut;
use crate::store::{CHANGES_BYTES, Change, ChangeLog, Page, Result};

/// The ends of the feed.
#[derive(QueryableByName)]
struct Bounds {
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = BigInt)]
    floor_id: i64,
    #[diesel(sql_type = BigInt)]
    head_id: i64,
}

impl Bounds {
    fn read(connection: &mut SqliteConnection) -> QueryResult<Self> {
        sql_query("SELECT epoch, floor_id, coalesce((SELECT max(id) FROM events), 0) AS head_id FROM feed")
            .get_result(connection)
    }

    /// The place behind an event.
    fn behind(&self, id: i64) -> Position {
        Position::at(self.epoch, Arc::new(Snapshot::before(id + 1)))
    }

    fn head(&self) -> Position {
        self.behind(self.head_id.max(self.floor_id))
    }
}

/// The events behind a position, by id.
struct Range {
    above: i64,
    up_to: i64,
}

impl Range {
    /// Nothing where the feed cannot be continued from the place.
    fn behind(after: &Position, bounds: &Bounds) -> Option<Self> {
        let head = bounds.head_id.max(bounds.floor_id);
        let seen = after.seen().next - 1;
        let (above, up_to) = match after.partly_seen() {
            Some((next, id)) => (seen.max(id), next.next - 1),
            None => (seen, head),
        };
        let continues = after.epoch() == bounds.epoch && above >= bounds.floor_id && above.max(up_to) <= head;
        continues.then_some(Self { above, up_to })
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    work_id: i64,
    #[diesel(sql_type = Nullable<Text>)]
    status: Option<String>,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    variable: String,
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
}

impl Row {
    fn into_change(self, bounds: &Bounds) -> QueryResult<Change> {
        let status = self.status.map(|status| parsed("status", status.parse()));
        Ok(Change {
            position: bounds.behind(self.id),
            work_id: WorkId(self.work_id),
            kind: parsed("kind", self.kind.parse())?,
            status: status.transpose()?,
            event: Event {
                id: self.id,
                work_code: parsed("work_code", self.work_code.parse())?,
                variable: parsed("variable", self.variable.parse())?,
                value: self.value,
                created_on: unix_seconds(self.created_on),
            },
        })
    }
}

#[derive(QueryableByName)]
struct Touch {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    work_id: i64,
}

#[async_trait]
impl ChangeLog for SqliteStore {
    async fn head(&self) -> Result<Position> {
        self.read(|connection| Ok(Bounds::read(connection)?.head())).await
    }

    async fn changes(&self, after: &Position, limit: u16) -> Result<Option<Page<Change>>> {
        self.page(after, move |connection, bounds, range| {
            let select = sql_query(
                "SELECT events.id, work_id, events.status, work_code, kind, variable, value, events.created_on
                 FROM events JOIN works ON works.id = work_id
                 WHERE events.id > ? AND events.id <= ? ORDER BY events.id LIMIT ?",
            )
            .bind::<BigInt, _>(range.above)
            .bind::<BigInt, _>(range.up_to)
            .bind::<Integer, _>(i32::from(limit));
            let rows = load_within(connection, select, CHANGES_BYTES, |row: &Row| row.value.len())?;
            let cut = is_cut(limit, rows.iter().map(|row| row.value.as_str()));
            let last = rows.last().map(|row| row.id).filter(|_| cut);
            let items = rows.into_iter().map(|row| row.into_change(bounds));
            Ok((items.collect::<QueryResult<_>>()?, last))
        })
        .await
    }

    async fn touched(&self, after: &Position, limit: u16) -> Result<Option<Page<WorkId>>> {
        self.page(after, move |connection, _, range| {
            let touches: Vec<Touch> =
                sql_query("SELECT id, work_id FROM events WHERE id > ? AND id <= ? ORDER BY id LIMIT ?")
                    .bind::<BigInt, _>(range.above)
                    .bind::<BigInt, _>(range.up_to)
                    .bind::<Integer, _>(i32::from(limit))
                    .load(connection)?;
            let cut = touches.len() == usize::from(limit);
            let last = touches.last().map(|touch| touch.id).filter(|_| cut);
            let mut works: Vec<WorkId> = touches.into_iter().map(|touch| WorkId(touch.work_id)).collect();
            works.sort_unstable();
            works.dedup();
            Ok((works, last))
        })
        .await
    }
}

impl SqliteStore {
    /// A page that `rows` reads, with the id of its last row if the page ends before the range does.
    async fn page<T, F>(&self, after: &Position, rows: F) -> Result<Option<Page<T>>>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection, &Bounds, &Range) -> QueryResult<(Vec<T>, Option<i64>)> + Send + 'static,
    {
        let after = after.clone();
        self.read(move |connection| {
            // One snapshot for the bounds and the rows.
            connection.transaction(|connection| {
                let bounds = Bounds::read(connection)?;
                let Some(range) = Range::behind(&after, &bounds) else {
                    return Ok(None);
                };
                let (items, last) = rows(connection, &bounds, &range)?;
                Ok(Some(Page {
                    items,
                    position: bounds.behind(last.unwrap_or(range.up_to.max(range.above))),
                    complete: last.is_none() && after.partly_seen().is_none(),
                }))
            })
        })
        .await
    }
}
