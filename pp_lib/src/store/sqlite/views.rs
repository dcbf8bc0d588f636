//! The counters: totals, and what was not added to them yet.

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::rows::{NOW, parsed};
use super::{SqliteStore, search};
use crate::domain::{KindCounts, KindName, Origin, Seconds, Stats};
use crate::store::views::{Count, Done, DoneBy, DoneWithin, assembled, by_kind, newest, seconds};
use crate::store::{Result, Views};

/// The deltas as rows of the totals.
const MOVED: &str = "SELECT kind, origin, status, works FROM stat_deltas WHERE status IS NOT NULL
     UNION ALL SELECT kind, origin, was, -works FROM stat_deltas WHERE was IS NOT NULL";

/// The deltas of works that became done, as rows of `stat_seconds`.
const FINISHED: &str = "SELECT recorded_on / 1000 AS second, kind, coalesce(latency, -1) AS latency, works
     FROM stat_deltas WHERE status = 'done'";

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
    fn into_count(self) -> QueryResult<Count> {
        let origin = Origin::ALL.into_iter().find(|origin| origin.as_str() == self.origin);
        Ok(Count {
            kind: parsed("kind", self.kind.parse())?,
            origin: parsed("origin", origin.ok_or(()))?,
            status: parsed("status", self.status.parse())?,
            works: self.works,
        })
    }
}

#[derive(QueryableByName)]
struct Scheduled {
    #[diesel(sql_type = BigInt)]
    works: i64,
}

#[derive(QueryableByName)]
struct DoneRow {
    #[diesel(sql_type = Integer)]
    latency: i32,
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
    fn into_done(self) -> QueryResult<DoneBy> {
        Ok(DoneBy {
            second: self.second,
            kind: self.kind.map(|kind| parsed("kind", kind.parse())).transpose()?,
            works: self.works,
        })
    }
}

#[derive(QueryableByName)]
struct DoneWithinRow {
    #[diesel(sql_type = BigInt)]
    second: i64,
    #[diesel(sql_type = Integer)]
    latency: i32,
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
impl Views for SqliteStore {
    async fn stats(&self, kind: Option<&KindName>) -> Result<Stats> {
        let kind = kind.cloned();
        self.read(move |connection| {
            let (kind, newest) = (kind.as_ref(), newest(kind.as_ref()));
            // One snapshot: a delta that is rolled up meanwhile is seen where it was.
            connection.transaction(|connection| {
                let (counts, scheduled) = (counts(connection, kind)?, scheduled(connection, kind)?);
                Ok(assembled(
                    &counts,
                    scheduled,
                    &done(connection, kind)?,
                    search::search(connection, &newest)?,
                ))
            })
        })
        .await
    }

    async fn kind_counts(&self) -> Result<Vec<KindCounts>> {
        self.read(|connection| Ok(by_kind(counts(connection, None)?))).await
    }

    async fn seconds(&self) -> Result<Seconds> {
        self.read(|connection| connection.transaction(done_in_seconds)).await
    }

    async fn roll_up(&self) -> Result<u64> {
        self.write(roll_up).await
    }

    async fn rebuild(&self) -> Result<()> {
        self.write(|connection| {
            roll_up(connection)?;
            sql_query("DELETE FROM stat_totals").execute(connection)?;
            sql_query(
                "INSERT INTO stat_totals (kind, origin, status, works)
                 SELECT kind, origin, status, count(*) FROM works WHERE deleted_on IS NULL
                 GROUP BY kind, origin, status",
            )
            .execute(connection)
            .map(drop)
        })
        .await
    }
}

fn roll_up(connection: &mut SqliteConnection) -> QueryResult<u64> {
    sql_query(format!(
        "INSERT INTO stat_totals (kind, origin, status, works)
         SELECT kind, origin, status, sum(works) FROM ({MOVED}) WHERE true GROUP BY kind, origin, status
         ON CONFLICT (kind, origin, status) DO UPDATE SET works = works + excluded.works"
    ))
    .execute(connection)?;
    sql_query(format!(
        "INSERT INTO stat_seconds (second, kind, latency, works)
         SELECT second, kind, latency, sum(works) FROM ({FINISHED}) WHERE true GROUP BY second, kind, latency
         ON CONFLICT (second, kind, latency) DO UPDATE SET works = works + excluded.works"
    ))
    .execute(connection)?;
    sql_query(format!(
        "DELETE FROM stat_seconds WHERE abs(second - {NOW} / 1000) > 120"
    ))
    .execute(connection)?;
    let deltas = sql_query("DELETE FROM stat_deltas").execute(connection)?;
    Ok(deltas as u64)
}

fn counts(connection: &mut SqliteConnection, kind: Option<&KindName>) -> QueryResult<Vec<Count>> {
    let rows: Vec<CountRow> = sql_query(format!(
        "SELECT kind, origin, status, sum(works) AS works
         FROM (SELECT kind, origin, status, works FROM stat_totals UNION ALL {MOVED})
         WHERE ?1 IS NULL OR kind = ?1 GROUP BY kind, origin, status"
    ))
    .bind::<Nullable<Text>, _>(kind.map(KindName::as_str))
    .load(connection)?;
    rows.into_iter().map(CountRow::into_count).collect()
}

fn done(connection: &mut SqliteConnection, kind: Option<&KindName>) -> QueryResult<Vec<Done>> {
    let rows: Vec<DoneRow> = sql_query(format!(
        "SELECT latency, sum(works) AS over_60s, sum(iif(second = this - 1, works, 0)) AS over_1s
         FROM (SELECT {NOW} / 1000 AS this)
         JOIN (SELECT second, kind, latency, works FROM stat_seconds UNION ALL {FINISHED})
             ON second BETWEEN this - 60 AND this - 1 AND (?1 IS NULL OR kind = ?1)
         GROUP BY latency ORDER BY latency"
    ))
    .bind::<Nullable<Text>, _>(kind.map(KindName::as_str))
    .load(connection)?;
    Ok(rows.into_iter().map(DoneRow::into_done).collect())
}

fn done_in_seconds(connection: &mut SqliteConnection) -> QueryResult<Seconds> {
    let This { this } = sql_query(format!("SELECT {NOW} / 1000 AS this")).get_result(connection)?;
    let done = format!(
        "done AS (SELECT second, kind, latency, works FROM (
             SELECT second, kind, latency, works FROM stat_seconds UNION ALL {FINISHED})
         WHERE second BETWEEN ?1 - {} AND ?1 - 1)",
        Seconds::COUNT
    );
    let by: Vec<DoneByRow> = sql_query(format!(
        "WITH {done}, most AS (SELECT kind FROM done GROUP BY kind ORDER BY sum(works) DESC, kind LIMIT {})
         SELECT second, most.kind, sum(works) AS works FROM done LEFT JOIN most ON most.kind = done.kind
         GROUP BY second, most.kind",
        Seconds::MOST_KINDS
    ))
    .bind::<BigInt, _>(this)
    .load(connection)?;
    let within: Vec<DoneWithinRow> = sql_query(format!(
        "WITH {done} SELECT second, latency, sum(works) AS works FROM done GROUP BY second, latency ORDER BY latency"
    ))
    .bind::<BigInt, _>(this)
    .load(connection)?;
    let by: Vec<DoneBy> = by.into_iter().map(DoneByRow::into_done).collect::<QueryResult<_>>()?;
    let within: Vec<DoneWithin> = within.into_iter().map(DoneWithinRow::into_done).collect();
    Ok(seconds(this, by, &within))
}

/// A pending work is never a deleted one.
fn scheduled(connection: &mut SqliteConnection, kind: Option<&KindName>) -> QueryResult<i64> {
    let scheduled: Scheduled = sql_query(format!(
        "SELECT count(*) AS works FROM works INDEXED BY works_scheduled
         WHERE status = 'pending' AND run_at > {NOW} AND (?1 IS NULL OR kind = ?1)"
    ))
    .bind::<Nullable<Text>, _>(kind.map(KindName::as_str))
    .get_result(connection)?;
    Ok(scheduled.works)
}
