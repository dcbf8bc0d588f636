//! The feed: events in the order of their transactions, as far as no open transaction may still write before them.

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::failure::Failure;
use super::prepared::Prepared;
use super::work_rows::{parsed, unix_seconds};
use crate::domain::{Event, Position, WorkId};
use crate::store::{Change, ChangeLog, Page, Result};

/// Where the feed begins and ends for one statement, and whether something committed stands behind its end.
#[derive(QueryableByName)]
struct Bounds {
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = BigInt)]
    floor_tx: i64,
    #[diesel(sql_type = BigInt)]
    floor_id: i64,
    #[diesel(sql_type = BigInt)]
    head_tx: i64,
    #[diesel(sql_type = BigInt)]
    head_id: i64,
    #[diesel(sql_type = Bool)]
    held: bool,
}

impl Bounds {
    /// The fence: no transaction before the oldest open one can still write. What is committed behind it is held. Both
    /// ends are looked for from the newest event on, in the key's order: any other way walks all events. The search
    /// stops at the floor: below it there may be many rows that were purged and not yet vacuumed.
    fn read(connection: &mut PgConnection) -> std::result::Result<Self, Failure> {
        let bounds = sql_query(
            "SELECT epoch, floor_tx::text::bigint AS floor_tx, floor_id,
                coalesce(head.tx::text::bigint, 0) AS head_tx, coalesce(head.id, 0) AS head_id,
                coalesce(newest.tx >= pg_snapshot_xmin(pg_current_snapshot()), false) AS held
            FROM feed LEFT JOIN LATERAL (
                SELECT tx, id FROM events
                WHERE tx < pg_snapshot_xmin(pg_current_snapshot()) AND (tx, id) > (floor_tx, floor_id)
                ORDER BY tx DESC, id DESC LIMIT 1
            ) AS head ON true LEFT JOIN LATERAL (
                SELECT tx FROM events WHERE (tx, id) > (floor_tx, floor_id) ORDER BY tx DESC, id DESC LIMIT 1
            ) AS newest ON true",
        );
        Ok(Prepared(bounds).get_result(connection)?)
    }

    fn head(&self) -> Position {
        let (floor, head) = ((self.floor_tx, self.floor_id), (self.head_tx, self.head_id));
        let (tx, id) = head.max(floor);
        Position {
            epoch: self.epoch,
            tx,
            id,
        }
    }

    fn continues_from(&self, after: Position) -> bool {
        let floor = (self.floor_tx, self.floor_id);
        after.epoch == self.epoch && (after.tx, after.id) >= floor && after <= self.head()
    }

    /// What stands behind the head.
    fn nothing_new<T>(&self) -> Page<T> {
        Page {
            items: Vec::new(),
            position: self.head(),
            complete: !self.held,
        }
    }
}

/// Whether everything behind a place was still there for the statements before this one, each of which had a snapshot of
/// its own: what goes moves the floor in the same change.
fn is_whole(connection: &mut PgConnection, after: Position) -> std::result::Result<bool, Failure> {
    let statement = sql_query("SELECT (floor_tx, floor_id) <= ($1::text::xid8, $2) AS below FROM feed")
        .bind::<Text, _>(after.tx.to_string())
        .bind::<BigInt, _>(after.id);
    Ok(Prepared(statement).get_result::<Floor>(connection)?.below)
}

#[derive(QueryableByName)]
struct Floor {
    #[diesel(sql_type = Bool)]
    below: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    tx: i64,
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
    #[diesel(sql_type = Timestamptz)]
    created_on: PgTimestamp,
}

impl Row {
    fn into_change(self, epoch: i64) -> std::result::Result<Change, Failure> {
        let Self { tx, id, work_id, .. } = self;
        Ok(Change {
            position: Position { epoch, tx, id },
            work_id: WorkId(work_id),
            status: self.status.map(|status| parsed(work_id, status.parse())).transpose()?,
            event: Event {
                id,
                work_code: parsed(work_id, self.work_code.parse())?,
                variable: parsed(work_id, self.variable.parse())?,
                value: self.value,
                created_on: unix_seconds(self.created_on),
            },
        })
    }
}

#[derive(QueryableByName)]
struct Touched {
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    tx: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    id: Option<i64>,
    #[diesel(sql_type = Array<BigInt>)]
    works: Vec<i64>,
}

#[async_trait]
impl ChangeLog for PostgresStore {
    async fn head(&self) -> Result<Position> {
        self.run(|connection| Ok(Bounds::read(connection)?.head())).await
    }

    async fn changes(&self, after: Position, limit: u16) -> Result<Option<Page<Change>>> {
        self.run(move |connection| {
            let bounds = Bounds::read(connection)?;
            if !bounds.continues_from(after) {
                return Ok(None);
            }
            if after == bounds.head() {
                return Ok(Some(bounds.nothing_new()));
            }
            // An event without its work is of one that somebody deleted by hand; it tells nobody anything.
            let rows: Vec<Row> = sql_query(
                "SELECT events.tx::text::bigint AS tx, events.id, work_id, events.status::text AS status, work_code,
                    variable::text AS variable, value, events.created_on
                FROM events JOIN works ON works.id = work_id
                WHERE (events.tx, events.id) > ($1::text::xid8, $2) AND (events.tx, events.id) <= ($3::text::xid8, $4)
                ORDER BY events.tx, events.id LIMIT $5",
            )
            .bind::<Text, _>(after.tx.to_string())
            .bind::<BigInt, _>(after.id)
            .bind::<Text, _>(bounds.head_tx.to_string())
            .bind::<BigInt, _>(bounds.head_id)
            .bind::<Integer, _>(i32::from(limit))
            .load(connection)?;
            if !is_whole(connection, after)? {
                return Ok(None);
            }
            let full = rows.len() == usize::from(limit);
            let items = rows.into_iter().map(|row| row.into_change(bounds.epoch));
            let items = items.collect::<std::result::Result<Vec<_>, _>>()?;
            let last = items.last().map(|change| change.position).filter(|_| full);
            Ok(Some(Page {
                position: last.unwrap_or(bounds.head()),
                complete: !full && !bounds.held,
                items,
            }))
        })
        .await
    }

    async fn touched(&self, after: Position, limit: u16) -> Result<Option<Page<WorkId>>> {
        self.run(move |connection| {
            let bounds = Bounds::read(connection)?;
            if !bounds.continues_from(after) {
                return Ok(None);
            }
            if after == bounds.head() {
                return Ok(Some(bounds.nothing_new()));
            }
            let touched: Touched = sql_query(
                "WITH page AS MATERIALIZED (
                    SELECT tx, id, work_id FROM events
                    WHERE (tx, id) > ($1::text::xid8, $2) AND (tx, id) <= ($3::text::xid8, $4)
                    ORDER BY tx, id LIMIT $5
                ), last AS (
                    SELECT tx, id FROM page ORDER BY tx DESC, id DESC LIMIT 1
                )
                SELECT (SELECT count(*) FROM page) AS events,
                    (SELECT tx::text::bigint FROM last) AS tx, (SELECT id FROM last) AS id,
                    ARRAY(SELECT DISTINCT work_id FROM page) AS works",
            )
            .bind::<Text, _>(after.tx.to_string())
            .bind::<BigInt, _>(after.id)
            .bind::<Text, _>(bounds.head_tx.to_string())
            .bind::<BigInt, _>(bounds.head_id)
            .bind::<Integer, _>(i32::from(limit))
            .get_result(connection)?;
            if !is_whole(connection, after)? {
                return Ok(None);
            }
            let full = touched.events == i64::from(limit);
            let last = touched.tx.zip(touched.id).filter(|_| full).map(|(tx, id)| Position {
                epoch: bounds.epoch,
                tx,
                id,
            });
            Ok(Some(Page {
                items: touched.works.into_iter().map(WorkId).collect(),
                position: last.unwrap_or(bounds.head()),
                complete: !full && !bounds.held,
            }))
        })
        .await
    }
}

/// Makes sure that the feed counts on from where this database is: one that is new, restored or copied gets another
/// epoch, and what a restored one says of transactions to come is put before all that will be written.
pub(super) fn settle_epoch(connection: &mut PgConnection) -> diesel::QueryResult<()> {
    use diesel::Connection as _;
    connection.transaction(|connection| {
        // Two that start at once take turns.
        sql_query("LOCK TABLE feed IN SHARE ROW EXCLUSIVE MODE").execute(connection)?;
        let moved = sql_query(
            "INSERT INTO feed (epoch, made_in)
            SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
                (SELECT system_identifier FROM pg_control_system()) || '/' ||
                (SELECT oid FROM pg_database WHERE datname = current_database())
            ON CONFLICT (one) DO UPDATE SET epoch = greatest(excluded.epoch, feed.epoch + 1), made_in = excluded.made_in
            WHERE feed.made_in <> excluded.made_in
                OR EXISTS (SELECT FROM events WHERE tx > pg_current_xact_id())",
        )
        .execute(connection)?;
        if moved > 0 {
            sql_query("UPDATE events SET tx = '3' WHERE tx > pg_current_xact_id()").execute(connection)?;
            sql_query("UPDATE feed SET floor_tx = '0', floor_id = 0 WHERE floor_tx > pg_current_xact_id()")
                .execute(connection)?;
        }
        Ok(())
    })
}
