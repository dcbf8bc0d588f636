//! The statement that purges old works.

use async_trait::async_trait;
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::rows::{column, microseconds};
use crate::domain::WorkId;
use crate::store::{Purged, Result, Retention, RetentionTimes};

/// Purges in one statement, so that the floor of the feed and the counters change together with the works. It waits for
/// no lock: it skips locked rows, and a row that changed since the snapshot has another version. A statement that waits
/// for its locks finds the work gone.
///
/// The floor is the newest transaction of which events went, and the highest id among them. Places of readers are as old
/// as the oldest open transaction, so what is younger than that stays, with its works.
const PURGE: &str = "
    WITH page AS MATERIALIZED (
        SELECT id, version, created_on FROM works WHERE id > $1 ORDER BY id LIMIT $3
    ), old AS MATERIALIZED (
        SELECT works.id FROM page JOIN works USING (id, version)
            LEFT JOIN unnest($4, $5) AS kept (kind, micros) USING (kind)
        WHERE status IN ('done', 'failed', 'cancelled')
            AND coalesce(deleted_on, updated_on) < now() - coalesce(kept.micros, $2) * interval '1 microsecond'
            AND NOT EXISTS (SELECT FROM dead_letters WHERE work_id = works.id)
            AND NOT EXISTS (
                SELECT FROM events WHERE work_id = works.id AND tx >= pg_snapshot_xmin(pg_current_snapshot())
            )
        FOR UPDATE OF works SKIP LOCKED
    ), gone AS (
        DELETE FROM works WHERE id = ANY(ARRAY(SELECT id FROM old))
        RETURNING id, kind, origin, status, deleted_on
    ), forgotten AS (
        DELETE FROM events WHERE work_id = ANY(ARRAY(SELECT id FROM gone))
        RETURNING tx, id
    ), raised AS (
        UPDATE feed SET floor_tx = greatest(floor_tx, last.tx), floor_id = greatest(floor_id, last.id)
        FROM (SELECT (SELECT tx FROM forgotten ORDER BY tx DESC LIMIT 1), (SELECT max(id) FROM forgotten)) AS last (tx, id)
        WHERE last.tx > floor_tx OR last.id > floor_id
    ), counted AS (
        INSERT INTO stat_deltas (kind, origin, was, works)
        SELECT kind, origin, status, count(*) FROM gone WHERE deleted_on IS NULL GROUP BY kind, origin, status
    )
    SELECT (SELECT count(*) FROM gone) AS works, (SELECT count(*) FROM forgotten) AS events,
        (SELECT max(id) FROM page
            HAVING count(*) = $3 AND bool_or(created_on < now() - $6 * interval '1 microsecond')) AS next";

#[derive(QueryableByName)]
struct PurgedRow {
    #[diesel(sql_type = BigInt)]
    works: i64,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    next: Option<i64>,
}

#[async_trait]
impl Retention for PostgresStore {
    async fn purge(&self, after: WorkId, times: &RetentionTimes, limit: u16) -> Result<Purged> {
        let (usually, shortest) = (microseconds(times.default), microseconds(times.shortest()));
        let kinds = column(&times.by_kind, |(kind, _)| kind.to_string());
        let micros = column(&times.by_kind, |(_, time)| microseconds(*time));
        let purged: PurgedRow = self
            .run(move |connection| {
                let purged = sql_query(PURGE)
                    .bind::<BigInt, _>(after.0)
                    .bind::<BigInt, _>(usually)
                    .bind::<BigInt, _>(i64::from(limit))
                    .bind::<Array<Text>, _>(&kinds)
                    .bind::<Array<BigInt>, _>(&micros)
                    .bind::<BigInt, _>(shortest)
                    .get_result(connection)?;
                Ok(purged)
            })
            .await?;
        Ok(Purged {
            works: u64::try_from(purged.works).unwrap_or_default(),
            events: u64::try_from(purged.events).unwrap_or_default(),
            next: purged.next.map(WorkId),
        })
    }
}
