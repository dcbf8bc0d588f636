//! The feed: with one writer the order of ids is the order of commits.

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::super::{Change, ChangeLog, Page, Result};
use super::{SqliteStore, unexpected};
use crate::domain::{Event, Position, WorkId};

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

    fn at(&self, id: i64) -> Position {
        Position {
            epoch: self.epoch,
            tx: 0,
            id,
        }
    }

    fn head(&self) -> Position {
        self.at(self.head_id.max(self.floor_id))
    }

    fn continues_from(&self, after: Position) -> bool {
        after.epoch == self.epoch && after.tx == 0 && after.id >= self.floor_id && after <= self.head()
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
    variable: String,
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
}

impl Row {
    fn into_change(self, bounds: &Bounds) -> QueryResult<Change> {
        let status = self
            .status
            .map(|status| status.parse().map_err(|()| unexpected("status")));
        Ok(Change {
            position: bounds.at(self.id),
            work_id: WorkId(self.work_id),
            status: status.transpose()?,
            event: Event {
                id: self.id,
                work_code: self.work_code.parse().map_err(|_| unexpected("work_code"))?,
                variable: self.variable.parse().map_err(|()| unexpected("variable"))?,
                value: self.value,
                created_on: self.created_on.div_euclid(1000),
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

    async fn changes(&self, after: Position, limit: u16) -> Result<Option<Page<Change>>> {
        self.page(after, limit, move |connection, bounds| {
            let rows: Vec<Row> = sql_query(
                "SELECT events.id, work_id, events.status, work_code, variable, value, events.created_on
                 FROM events JOIN works ON works.id = work_id
                 WHERE events.id > ? AND events.id <= ? ORDER BY events.id LIMIT ?",
            )
            .bind::<BigInt, _>(after.id)
            .bind::<BigInt, _>(bounds.head_id)
            .bind::<Integer, _>(i32::from(limit))
            .load(connection)?;
            let last = rows.last().map(|row| row.id);
            let read = rows.len();
            let items = rows.into_iter().map(|row| row.into_change(bounds));
            Ok((items.collect::<QueryResult<_>>()?, read, last))
        })
        .await
    }

    async fn touched(&self, after: Position, limit: u16) -> Result<Option<Page<WorkId>>> {
        self.page(after, limit, move |connection, bounds| {
            let touches: Vec<Touch> =
                sql_query("SELECT id, work_id FROM events WHERE id > ? AND id <= ? ORDER BY id LIMIT ?")
                    .bind::<BigInt, _>(after.id)
                    .bind::<BigInt, _>(bounds.head_id)
                    .bind::<Integer, _>(i32::from(limit))
                    .load(connection)?;
            let last = touches.last().map(|touch| touch.id);
            let read = touches.len();
            let mut works: Vec<WorkId> = touches.into_iter().map(|touch| WorkId(touch.work_id)).collect();
            works.sort_unstable();
            works.dedup();
            Ok((works, read, last))
        })
        .await
    }
}

impl SqliteStore {
    /// A page that `rows` reads, with the number of rows and the id of the last one.
    async fn page<T, F>(&self, after: Position, limit: u16, rows: F) -> Result<Option<Page<T>>>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection, &Bounds) -> QueryResult<(Vec<T>, usize, Option<i64>)> + Send + 'static,
    {
        self.read(move |connection| {
            // One snapshot for the bounds and the rows.
            connection.transaction(|connection| {
                let bounds = Bounds::read(connection)?;
                if !bounds.continues_from(after) {
                    return Ok(None);
                }
                let (items, read, last) = rows(connection, &bounds)?;
                let full = read == usize::from(limit);
                let position = last.filter(|_| full).map_or(bounds.head(), |id| bounds.at(id));
                Ok(Some(Page {
                    items,
                    position,
                    complete: !full,
                }))
            })
        })
        .await
    }
}
