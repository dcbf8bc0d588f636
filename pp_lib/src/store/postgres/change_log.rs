//! The feed: what one snapshot of the server shows and an earlier one did not.
//!
//! Within a page events are ordered by id. That is the order of one work's events, because whatever writes an event holds
//! the row of its work before it draws the event's id; a transaction that began early and came to the row late has the
//! later id. From page to page the snapshots of a primary grow: each shows everything that the one before showed.

use std::sync::Arc;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::failure::Failure;
use super::feed_epoch::{self, INCARNATION};
use super::prepared::Prepared;
use super::rows::{parsed, unix_seconds, within};
use super::session::each_at_its_moment;
use crate::domain::{Event, Position, Snapshot, WorkId};
use crate::store::change_log::is_cut;
use crate::store::{CHANGES_BYTES, Change, ChangeLog, Page, Result};

/// The state of the feed as its statement sees it. The snapshot is that of the statement. The rest is read after it was
/// taken: how many transactions had begun by then that are too young for its list, and the highest id that was drawn,
/// so that no event in the snapshot has a higher one.
const FEED: &str = "
    SELECT epoch, pg_is_in_recovery() AS standby, pg_current_snapshot() AS now,
        age(pg_snapshot_xmax(pg_current_snapshot())::xid)::bigint AS begun,
        coalesce(pg_sequence_last_value('events_id_seq'), 0) AS up_to, floor_tx, floor_id, incarnation";

/// The events that the place `$1` to `$6` has not seen, at most `$7`: `$1` epoch, `$2` the last snapshot, `$3` the snapshot
/// it is on the way to, if any, `$4` the last id seen on that way, `$5` and `$6` between which ids the events of later
/// transactions lie.
///
/// Up to `$5` only transactions that were open at the last snapshot have new events; they are found by the key. Events
/// above `$5` are found in the order of ids. So a page costs what is on it, however large the table is and however much
/// an open transaction wrote.
///
/// The place is valid while no event behind it was purged: the purged ones are of transactions up to `floor_tx`, with ids
/// up to `floor_id`.
const PAGE: &str = "
    here AS MATERIALIZED (
        SELECT feed.*, last, coalesce(this, now) AS this,
            epoch = $1 AND greatest(pg_snapshot_xmax(last), pg_snapshot_xmax(this))::text::bigint
                <= pg_snapshot_xmax(now)::text::bigint + begun AND (
                floor_tx < pg_snapshot_xmin(last) OR floor_tx < pg_snapshot_xmin(this) AND floor_id <= $4
            ) AS continues
        FROM feed CROSS JOIN (SELECT $2::pg_snapshot AS last, $3::pg_snapshot AS this) AS place
    ), page AS MATERIALIZED (
        SELECT * FROM (
            SELECT late.* FROM here
            CROSS JOIN LATERAL pg_snapshot_xip(here.last) AS open (tx)
            CROSS JOIN LATERAL (
                SELECT id, work_id, created_on, variable, value, status FROM events
                WHERE events.tx = open.tx AND id > $4 AND id <= $5
                ORDER BY id LIMIT $7
            ) AS late
            WHERE pg_visible_in_snapshot(open.tx, here.this)
            UNION ALL
            (SELECT id, work_id, created_on, variable, value, status FROM events
            WHERE id > greatest($4, $5) AND id <= $6
                AND NOT pg_visible_in_snapshot(tx, (SELECT last FROM here))
                AND pg_visible_in_snapshot(tx, (SELECT this FROM here))
            ORDER BY id LIMIT $7)
        ) AS unseen
        WHERE (SELECT continues FROM here)
        ORDER BY id LIMIT $7
    )";

#[derive(QueryableByName)]
struct Feed {
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    /// The server cannot be asked, as it does not know which transactions are open.
    #[diesel(sql_type = Bool)]
    standby: bool,
    /// The epoch was made in another database, or before the server was promoted.
    #[diesel(sql_type = Bool)]
    moved: bool,
    #[diesel(sql_type = Text)]
    now: String,
    #[diesel(sql_type = BigInt)]
    begun: i64,
    #[diesel(sql_type = BigInt)]
    up_to: i64,
}

impl Feed {
    /// True if this epoch can be read. If it was made elsewhere, a new one begins.
    fn is_current(&self, connection: &mut PgConnection) -> std::result::Result<bool, Failure> {
        if self.standby {
            let why = "the change feed needs a primary, and this server is a standby";
            return Err(Failure::Unreachable(why.to_owned()));
        }
        if self.moved {
            feed_epoch::ensure(connection)?;
        }
        Ok(!self.moved)
    }

    /// The statement's snapshot, where `above` is the highest id that was drawn before it.
    ///
    /// Its list of open transactions ends with the newest one that has finished. Those that had begun since may have drawn
    /// ids up to `above` and are added. Where they are too many, as within a transaction with thousands of savepoints, what
    /// the last snapshot says of ids is kept: it holds for all that begin after it.
    fn snapshot(&self, above: i64, last: Option<&Snapshot>) -> std::result::Result<Arc<Snapshot>, Failure> {
        let mut parts = self.now.splitn(3, ':').skip(1);
        let unlisted = parts.next().and_then(|next| next.parse().ok());
        let unlisted: i64 = unlisted.ok_or_else(|| Failure::Unreadable(format!("no snapshot: {}", self.now)))?;
        let open = parts.next().unwrap_or_default().split_terminator(',');
        let mut open: Vec<i64> = open.map_while(|tx| tx.parse().ok()).collect();
        let room = i64::try_from(Snapshot::MAX_OPEN.saturating_sub(open.len())).unwrap_or_default();
        let (next, above) = match last {
            Some(last) if self.begun > room => (unlisted.max(last.next), last.above),
            _ => (unlisted + self.begun, above),
        };
        let open_now = open
            .len()
            .saturating_add(usize::try_from(next - unlisted).unwrap_or_default());
        if open_now > Snapshot::MAX_OPEN {
            let most = Snapshot::MAX_OPEN;
            let why = format!("the change feed waits: {open_now} transactions are open, and it can follow {most}");
            return Err(Failure::Unreachable(why));
        }
        open.extend(unlisted..next);
        Ok(Arc::new(Snapshot {
            next,
            open,
            above,
            up_to: self.up_to,
        }))
    }
}

/// As PostgreSQL writes it.
fn text_of(snapshot: &Snapshot) -> String {
    let open: Vec<String> = snapshot.open.iter().map(i64::to_string).collect();
    let oldest = snapshot.oldest_unfinished();
    format!("{oldest}:{}:{}", snapshot.next, open.join(","))
}

/// A page as it is asked for: what is behind a place, up to the snapshot it is on the way to or the statement's own.
struct Asked {
    after: Position,
    limit: u16,
    /// The highest id that was drawn before the statement's snapshot.
    above: i64,
}

/// The end of a page.
struct Behind {
    position: Position,
    complete: bool,
}

impl Asked {
    /// A statement over the common table expressions `feed`, `here` and `page`.
    fn ask<R>(&self, connection: &mut PgConnection, select: &str) -> diesel::QueryResult<Vec<R>>
    where
        R: QueryableByName<diesel::pg::Pg> + 'static,
    {
        let (seen, partly) = (self.after.seen(), self.after.partly_seen());
        sql_query(format!(
            "WITH feed AS MATERIALIZED ({FEED} FROM feed LIMIT 1), {PAGE} {select}"
        ))
        .bind::<BigInt, _>(self.after.epoch())
        .bind::<Text, _>(text_of(seen))
        .bind::<Nullable<Text>, _>(partly.map(|(next, _)| text_of(next)))
        .bind::<BigInt, _>(partly.map_or(0, |(_, id)| id))
        .bind::<BigInt, _>(seen.above)
        .bind::<BigInt, _>(partly.map_or(i64::MAX, |(next, _)| next.up_to))
        .bind::<Integer, _>(i32::from(self.limit))
        .load(connection)
    }

    /// The snapshot up to which the page goes.
    fn end(&self, feed: &Feed) -> std::result::Result<Arc<Snapshot>, Failure> {
        match self.after.partly_seen() {
            Some((next, _)) => Ok(Arc::clone(next)),
            None => feed.snapshot(self.above, Some(self.after.seen())),
        }
    }

    /// The end of a page. If the page ends before that snapshot, `last` is the id of its last event.
    fn behind(&self, end: Arc<Snapshot>, last: Option<i64>) -> Behind {
        let (epoch, seen) = (self.after.epoch(), Arc::clone(self.after.seen()));
        match last {
            Some(id) => Behind {
                position: Position::between(epoch, seen, end, id),
                complete: false,
            },
            None => Behind {
                position: Position::at(epoch, end),
                complete: self.after.partly_seen().is_none(),
            },
        }
    }
}

/// The highest id that any transaction has drawn. Transactions that begin from now on draw higher ones.
///
/// For the rest of the transaction the planner takes the indexes in their order, and does not collect all that a long
/// transaction wrote to sort it for each page. It would where it knows little about the table.
fn drawn(connection: &mut PgConnection) -> std::result::Result<i64, Failure> {
    let drawn = sql_query(
        "SELECT coalesce(pg_sequence_last_value('events_id_seq'), 0) AS id
        FROM set_config('enable_bitmapscan', 'off', true)",
    );
    Ok(Prepared(drawn).get_result::<Drawn>(connection)?.id)
}

/// Reads a page in a transaction in which each statement has a snapshot of its own, whatever is usual in the database.
fn read<T>(
    connection: &mut PgConnection,
    after: &Position,
    limit: u16,
    page: impl FnOnce(&mut PgConnection, &Asked) -> std::result::Result<Option<Page<T>>, Failure>,
) -> std::result::Result<Option<Page<T>>, Failure> {
    each_at_its_moment(connection, |connection| {
        let above = drawn(connection)?;
        let asked = Asked {
            after: after.clone(),
            limit,
            above,
        };
        page(connection, &asked)
    })
}

/// The place behind everything; none where the epoch was made elsewhere, and a new one begins.
fn head(connection: &mut PgConnection) -> std::result::Result<Option<Position>, Failure> {
    let above = drawn(connection)?;
    let statement = format!(
        "WITH feed AS ({FEED} FROM feed LIMIT 1) SELECT {} FROM feed",
        feed_columns()
    );
    let feed: Feed = Prepared(sql_query(statement)).get_result(connection)?;
    if !feed.is_current(connection)? {
        return Ok(None);
    }
    Ok(Some(Position::at(feed.epoch, feed.snapshot(above, None)?)))
}

#[derive(QueryableByName)]
struct Drawn {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// An event with its work; neither, where there is nothing on the page.
#[derive(QueryableByName)]
struct Row {
    #[diesel(embed)]
    feed: Feed,
    #[diesel(sql_type = Bool)]
    continues: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    work_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    status: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    work_code: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    variable: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    created_on: Option<PgTimestamp>,
}

impl Row {
    /// The change; none for an event whose work was deleted by hand.
    fn into_change(self, position: impl Fn(i64) -> Position) -> std::result::Result<Option<Change>, Failure> {
        let work = self.work_id.zip(self.work_code).zip(self.kind);
        let (Some(((work_id, work_code), kind)), Some(id), Some(variable), Some(created_on)) =
            (work, self.id, self.variable, self.created_on)
        else {
            return Ok(None);
        };
        Ok(Some(Change {
            position: position(id),
            work_id: WorkId(work_id),
            kind: parsed(work_id, kind.parse())?,
            status: self.status.map(|status| parsed(work_id, status.parse())).transpose()?,
            event: Event {
                id,
                work_code: parsed(work_id, work_code.parse())?,
                variable: parsed(work_id, variable.parse())?,
                value: self.value.unwrap_or_default(),
                created_on: unix_seconds(created_on),
            },
        }))
    }
}

#[derive(QueryableByName)]
struct Touched {
    #[diesel(embed)]
    feed: Feed,
    #[diesel(sql_type = Bool)]
    continues: bool,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
    #[diesel(sql_type = Array<BigInt>)]
    works: Vec<i64>,
}

/// The columns of a [`Feed`].
fn feed_columns() -> String {
    format!("epoch, standby, incarnation <> {INCARNATION} AS moved, now::text AS now, begun, up_to")
}

fn no_feed() -> Failure {
    Failure::Unreadable("the feed has no epoch".to_owned())
}

fn changes(connection: &mut PgConnection, asked: &Asked) -> std::result::Result<Option<Page<Change>>, Failure> {
    let rows: Vec<Row> = asked.ask(
        connection,
        &format!(
            "SELECT {}, continues, part.id, work_id, part.status::text AS status, work_code, works.kind,
                variable::text AS variable, value, part.created_on
            FROM here LEFT JOIN ({}) AS part ON true LEFT JOIN (
                -- Several events of a work find it once.
                SELECT id, work_code, kind FROM works WHERE id = ANY(ARRAY(SELECT DISTINCT work_id FROM page))
            ) AS works ON works.id = work_id
            ORDER BY part.id",
            feed_columns(),
            within(
                CHANGES_BYTES,
                "octet_length(value)",
                "SELECT * FROM page",
                "ORDER BY id"
            )
        ),
    )?;
    let first = rows.first().ok_or_else(no_feed)?;
    if !first.feed.is_current(connection)? || !first.continues {
        return Ok(None);
    }
    let end = asked.end(&first.feed)?;
    let cut = is_cut(asked.limit, rows.iter().filter_map(|row| row.value.as_deref()));
    let last = rows.last().and_then(|row| row.id).filter(|_| cut);
    let Behind { position, complete } = asked.behind(Arc::clone(&end), last);
    let behind = |id| {
        let seen = Arc::clone(asked.after.seen());
        Position::between(asked.after.epoch(), seen, Arc::clone(&end), id)
    };
    let items = rows.into_iter().filter_map(|row| row.into_change(behind).transpose());
    Ok(Some(Page {
        items: items.collect::<std::result::Result<_, _>>()?,
        position,
        complete,
    }))
}

fn touched(connection: &mut PgConnection, asked: &Asked) -> std::result::Result<Option<Page<WorkId>>, Failure> {
    let rows: Vec<Touched> = asked.ask(
        connection,
        &format!(
            "SELECT {}, continues, (SELECT count(*) FROM page) AS events, (SELECT max(id) FROM page) AS last,
                ARRAY(SELECT DISTINCT work_id FROM page) AS works
            FROM here",
            feed_columns()
        ),
    )?;
    let touched = rows.into_iter().next().ok_or_else(no_feed)?;
    if !touched.feed.is_current(connection)? || !touched.continues {
        return Ok(None);
    }
    let last = touched.last.filter(|_| touched.events == i64::from(asked.limit));
    let Behind { position, complete } = asked.behind(asked.end(&touched.feed)?, last);
    Ok(Some(Page {
        items: touched.works.into_iter().map(WorkId).collect(),
        position,
        complete,
    }))
}

#[async_trait]
impl ChangeLog for PostgresStore {
    async fn head(&self) -> Result<Position> {
        loop {
            if let Some(head) = self.run(head).await? {
                return Ok(head);
            }
        }
    }

    async fn changes(&self, after: &Position, limit: u16) -> Result<Option<Page<Change>>> {
        let after = after.clone();
        self.run(move |connection| read(connection, &after, limit, changes))
            .await
    }

    async fn touched(&self, after: &Position, limit: u16) -> Result<Option<Page<WorkId>>> {
        let after = after.clone();
        self.run(move |connection| read(connection, &after, limit, touched))
            .await
    }
}
