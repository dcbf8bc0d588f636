//! The counters: totals, and what was not added to them yet.

use async_trait::async_trait;
use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};
use tokio::task::spawn_blocking;

use super::failure::Failure;
use super::search;
use super::session::at_one_moment;
use super::{PostgresStore, panicked};
use crate::domain::{KindCounts, KindName, Origin, Seconds, Stats};
use crate::store::views::{Count, Done, DoneBy, DoneWithin, assembled, by_kind, newest, seconds};
use crate::store::{Result, StoreError, Views};

/// Deltas that one statement changes: few enough to finish well within the statement timeout.
const DELTAS_AT_ONCE: i64 = 20_000;

/// Rolls up in one statement, so that each delta counts once at any moment: as itself or in the totals. Deltas that
/// another call rolls up right now are skipped. Totals are locked in the order of their keys, so two calls wait for
/// each other briefly and never in a circle.
const ROLL_UP: &str = "
    WITH taken AS (
        DELETE FROM stat_deltas WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM stat_deltas LIMIT $1 FOR UPDATE SKIP LOCKED
        ))
        RETURNING *
    ), counted AS (
        INSERT INTO stat_totals (kind, origin, status, works)
        SELECT kind, origin, status, sum(works) FROM (
            SELECT kind, origin, status, works FROM taken WHERE status IS NOT NULL
            UNION ALL
            SELECT kind, origin, was, -works FROM taken WHERE was IS NOT NULL
        ) AS moved
        GROUP BY kind, origin, status ORDER BY kind, origin, status
        ON CONFLICT (kind, origin, status) DO UPDATE SET works = stat_totals.works + excluded.works
    ), finished AS (
        INSERT INTO stat_seconds (second, kind, latency, works)
        SELECT floor(date_part('epoch', recorded_on)), kind, coalesce(latency, -1), sum(works) FROM taken
        WHERE status = 'done' AND recorded_on > now() - interval '2 minutes'
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (second, kind, latency) DO UPDATE SET works = stat_seconds.works + excluded.works
    ), outlived AS (
        DELETE FROM stat_seconds WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM stat_seconds WHERE abs(second - floor(date_part('epoch', now()))) > 120
            FOR UPDATE SKIP LOCKED
        ))
    )
    SELECT count(*) AS works FROM taken";

#[derive(QueryableByName)]
struct Works {
    #[diesel(sql_type = BigInt)]
    works: i64,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    origin: String,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = BigInt)]
    works: i64,
}

impl CountRow {
    fn into_count(self) -> std::result::Result<Count, Failure> {
        let unknown = || Failure::Unreadable("the counters are not ones that this program writes".to_owned());
        let origin = Origin::ALL.into_iter().find(|origin| origin.as_str() == self.origin);
        Ok(Count {
            kind: self.kind.parse().map_err(|_| unknown())?,
            origin: origin.ok_or_else(unknown)?,
            status: self.status.parse().map_err(|()| unknown())?,
            works: self.works,
        })
    }
}

#[derive(QueryableByName)]
struct DoneRow {
    #[diesel(sql_type = SmallInt)]
    latency: i16,
    #[diesel(sql_type = BigInt)]
    over_1s: i64,
    #[diesel(sql_type = BigInt)]
    over_60s: i64,
}

impl DoneRow {
    fn into_done(self) -> Done {
        Done {
            bucket: u8::try_from(self.latency).ok(),
            over_1s: self.over_1s,
            over_60s: self.over_60s,
        }
    }
}

#[derive(QueryableByName)]
struct This {
    #[diesel(sql_type = BigInt)]
    this: i64,
}

#[derive(QueryableByName)]
struct DoneByRow {
    #[diesel(sql_type = BigInt)]
    second: i64,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = BigInt)]
    works: i64,
}

impl DoneByRow {
    fn into_done(self) -> std::result::Result<DoneBy, Failure> {
        let unknown = |_| Failure::Unreadable("the counters are not ones that this program writes".to_owned());
        Ok(DoneBy {
            second: self.second,
            kind: self.kind.map(|kind| kind.parse().map_err(unknown)).transpose()?,
            works: self.works,
        })
    }
}

#[derive(QueryableByName)]
struct DoneWithinRow {
    #[diesel(sql_type = BigInt)]
    second: i64,
    #[diesel(sql_type = SmallInt)]
    latency: i16,
    #[diesel(sql_type = BigInt)]
    works: i64,
}

impl DoneWithinRow {
    fn into_done(self) -> DoneWithin {
        DoneWithin {
            second: self.second,
            bucket: u8::try_from(self.latency).ok(),
            works: self.works,
        }
    }
}

#[async_trait]
impl Views for PostgresStore {
    async fn stats(&self, kind: Option<&KindName>) -> Result<Stats> {
        let kind = kind.cloned();
        self.run(move |connection| {
            let (kind, newest) = (kind.as_ref(), newest(kind.as_ref()));
            // One snapshot: a delta that is rolled up meanwhile is seen where it was.
            at_one_moment(connection, |connection| {
                let (counts, scheduled) = (counts(connection, kind)?, scheduled(connection, kind)?);
                Ok(assembled(
                    &counts,
                    scheduled,
                    &done(connection, kind)?,
                    search::within(connection, &newest)?,
                ))
            })
        })
        .await
    }

    async fn kind_counts(&self) -> Result<Vec<KindCounts>> {
        self.run(|connection| Ok(by_kind(counts(connection, None)?))).await
    }

    async fn seconds(&self) -> Result<Seconds> {
        self.run(|connection| at_one_moment(connection, done_in_seconds)).await
    }

    async fn roll_up(&self) -> Result<u64> {
        let mut total = 0;
        loop {
            let some = self.run(|connection| roll_up(connection, Some(DELTAS_AT_ONCE))).await?;
            total += u64::try_from(some).unwrap_or_default();
            if some < DELTAS_AT_ONCE {
                return Ok(total);
            }
        }
    }

    /// On a connection of its own, since counting takes as long as there are works.
    async fn rebuild(&self) -> Result<()> {
        let sessions = self.direct.clone();
        let rebuilding = spawn_blocking(move || {
            let mut connection = sessions.connect_plainly().map_err(StoreError::Unavailable)?;
            rebuild(&mut connection).map_err(|failure| match failure {
                Failure::Unreadable(why) => StoreError::Rejected(why),
                failure => StoreError::Unavailable(failure.into_words()),
            })
        });
        rebuilding.await.unwrap_or_else(panicked)
    }
}

fn roll_up(connection: &mut PgConnection, at_most: Option<i64>) -> std::result::Result<i64, Failure> {
    let taken: Works = sql_query(ROLL_UP)
        .bind::<Nullable<BigInt>, _>(at_most)
        .get_result(connection)?;
    Ok(taken.works)
}

fn counts(connection: &mut PgConnection, kind: Option<&KindName>) -> std::result::Result<Vec<Count>, Failure> {
    let rows: Vec<CountRow> = sql_query(
        "SELECT kind, origin::text AS origin, status::text AS status, sum(works)::bigint AS works FROM (
            SELECT kind, origin, status, works FROM stat_totals
            UNION ALL
            SELECT kind, origin, status, works FROM stat_deltas WHERE status IS NOT NULL
            UNION ALL
            SELECT kind, origin, was, -works FROM stat_deltas WHERE was IS NOT NULL
        ) AS counted
        WHERE $1 IS NULL OR kind = $1
        GROUP BY kind, origin, status",
    )
    .bind::<Nullable<Text>, _>(kind.map(KindName::as_str))
    .load(connection)?;
    rows.into_iter().map(CountRow::into_count).collect()
}

fn done(connection: &mut PgConnection, kind: Option<&KindName>) -> std::result::Result<Vec<Done>, Failure> {
    let rows: Vec<DoneRow> = sql_query(
        "SELECT latency, sum(works)::bigint AS over_60s,
            coalesce(sum(works) FILTER (WHERE second = this - 1), 0)::bigint AS over_1s
        FROM floor(date_part('epoch', now())) AS this
        JOIN (
            SELECT second, kind, latency, works FROM stat_seconds
            UNION ALL
            SELECT floor(date_part('epoch', recorded_on))::bigint, kind, coalesce(latency, -1::smallint), works
            FROM stat_deltas WHERE status = 'done'
        ) AS done ON second BETWEEN this - 60 AND this - 1 AND ($1 IS NULL OR kind = $1)
        GROUP BY latency ORDER BY latency",
    )
    .bind::<Nullable<Text>, _>(kind.map(KindName::as_str))
    .load(connection)?;
    Ok(rows.into_iter().map(DoneRow::into_done).collect())
}

fn done_in_seconds(connection: &mut PgConnection) -> std::result::Result<Seconds, Failure> {
    let This { this } = sql_query("SELECT floor(date_part('epoch', now()))::bigint AS this").get_result(connection)?;
    let done = format!(
        "done AS (
            SELECT second, kind, latency, works FROM (
                SELECT second, kind, latency, works FROM stat_seconds
                UNION ALL
                SELECT floor(date_part('epoch', recorded_on))::bigint, kind, coalesce(latency, -1::smallint), works
                FROM stat_deltas WHERE status = 'done'
            ) AS finished WHERE second BETWEEN $1 - {} AND $1 - 1
        )",
        Seconds::COUNT
    );
    let by: Vec<DoneByRow> = sql_query(format!(
        "WITH {done}, most AS (SELECT kind FROM done GROUP BY kind ORDER BY sum(works) DESC, kind LIMIT {})
        SELECT second, most.kind, sum(works)::bigint AS works FROM done LEFT JOIN most ON most.kind = done.kind
        GROUP BY second, most.kind",
        Seconds::MOST_KINDS
    ))
    .bind::<BigInt, _>(this)
    .load(connection)?;
    let within: Vec<DoneWithinRow> = sql_query(format!(
        "WITH {done}
        SELECT second, latency, sum(works)::bigint AS works FROM done GROUP BY second, latency ORDER BY latency"
    ))
    .bind::<BigInt, _>(this)
    .load(connection)?;
    let by: Vec<DoneBy> = by
        .into_iter()
        .map(DoneByRow::into_done)
        .collect::<std::result::Result<_, Failure>>()?;
    let within: Vec<DoneWithin> = within.into_iter().map(DoneWithinRow::into_done).collect();
    Ok(seconds(this, by, &within))
}

/// A pending work is never a deleted one.
fn scheduled(connection: &mut PgConnection, kind: Option<&KindName>) -> std::result::Result<i64, Failure> {
    let scheduled: Works = sql_query(
        "SELECT count(*) AS works FROM works
        WHERE status = 'pending' AND run_at > now() AND ($1 IS NULL OR kind = $1)",
    )
    .bind::<Nullable<Text>, _>(kind.map(KindName::as_str))
    .get_result(connection)?;
    Ok(scheduled.works)
}

/// Counts exactly beside writers: the snapshot has what a transaction did together with its deltas, or neither. Deltas
/// in the snapshot are rolled up, because the count has them; the others stay. No other call rolls up meanwhile: it
/// would lock the totals before the first delta, and one before this lock is in the snapshot, which is taken after it.
fn rebuild(connection: &mut PgConnection) -> std::result::Result<(), Failure> {
    connection.batch_execute("SET application_name = 'pp'; SET lock_timeout = '5s'")?;
    connection.build_transaction().repeatable_read().run(|connection| {
        sql_query("LOCK TABLE stat_totals IN SHARE ROW EXCLUSIVE MODE").execute(connection)?;
        // What takes long comes before the first write, so that rows are not locked for long.
        let counted: Vec<CountRow> = sql_query(
            "SELECT kind, origin::text AS origin, status::text AS status, count(*) AS works
            FROM works WHERE deleted_on IS NULL GROUP BY kind, origin, status",
        )
        .load(connection)?;
        roll_up(connection, None)?;
        sql_query("DELETE FROM stat_totals").execute(connection)?;
        sql_query(
            "INSERT INTO stat_totals (kind, origin, status, works)
            SELECT * FROM unnest($1, $2::work_origin[], $3::work_status[], $4)",
        )
        .bind::<Array<Text>, _>(counted.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(counted.iter().map(|row| row.origin.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(counted.iter().map(|row| row.status.as_str()).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(counted.iter().map(|row| row.works).collect::<Vec<_>>())
        .execute(connection)?;
        Ok(())
    })
}
