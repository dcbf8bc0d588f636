//! The change that purges old works. The file reuses the space and does not shrink.

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::SqliteStore;
use super::rows::{Id, NOW, json_rows, millis};
use crate::domain::WorkId;
use crate::store::{Purged, Result, Retention, RetentionTimes};

/// The works that a call looks at.
#[derive(QueryableByName)]
struct Looked {
    #[diesel(sql_type = BigInt)]
    works: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
    /// True if one of them is old enough; those created since are not.
    #[diesel(sql_type = Nullable<Integer>)]
    old: Option<i32>,
}

#[async_trait]
impl Retention for SqliteStore {
    async fn purge(&self, after: WorkId, times: &RetentionTimes, limit: u16) -> Result<Purged> {
        let (usually, shortest) = (millis(times.default), millis(times.shortest()));
        let by_kind = json_rows(
            times
                .by_kind
                .iter()
                .map(|(kind, time)| json!([kind.as_str(), millis(*time)])),
        );
        self.write(move |connection| {
            let looked: Looked = sql_query(format!(
                "SELECT count(*) AS works, max(id) AS last, max(created_on < {NOW} - ?) AS old
                 FROM (SELECT id, created_on FROM works WHERE id > ? ORDER BY id LIMIT ?)"
            ))
            .bind::<BigInt, _>(shortest)
            .bind::<BigInt, _>(after.0)
            .bind::<Integer, _>(i32::from(limit))
            .get_result(connection)?;
            let Some(last) = looked.last else {
                return Ok(Purged::default());
            };
            let old = old(connection, (after.0, last), usually, &by_kind)?;
            let more = looked.works == i64::from(limit) && looked.old == Some(1);
            Ok(Purged {
                works: old.len() as u64,
                events: remove(connection, &old)? as u64,
                next: more.then_some(WorkId(last)),
            })
        })
        .await
    }
}

/// The works to purge behind the first id, up to the last.
fn old(
    connection: &mut SqliteConnection,
    (after, last): (i64, i64),
    usually: i64,
    by_kind: &str,
) -> QueryResult<Vec<i64>> {
    let old: Vec<Id> = sql_query(format!(
        "SELECT id FROM works
         WHERE id > ?1 AND id <= ?2
             AND status IN ('done', 'failed', 'cancelled')
             AND coalesce(deleted_on, updated_on) < {NOW}
                 - coalesce((SELECT value ->> 1 FROM json_each(?4) WHERE value ->> 0 = works.kind), ?3)
             AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE work_id = works.id)"
    ))
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(last)
    .bind::<BigInt, _>(usually)
    .bind::<Text, _>(by_kind)
    .load(connection)?;
    Ok(old.into_iter().map(|row| row.id).collect())
}

/// Removes works; how many events went with them.
fn remove(connection: &mut SqliteConnection, works: &[i64]) -> QueryResult<usize> {
    if works.is_empty() {
        return Ok(0);
    }
    let works = json_rows(works.iter().map(|id| (*id).into()));
    let mut change = |sql: &str| sql_query(sql).bind::<Text, _>(&works).execute(connection);
    change(
        "INSERT INTO stat_deltas (kind, origin, was, works)
         SELECT kind, origin, status, count(*) FROM works
         WHERE id IN (SELECT value FROM json_each(?)) AND deleted_on IS NULL GROUP BY kind, origin, status",
    )?;
    change(
        "UPDATE feed SET floor_id = max(floor_id, coalesce(
             (SELECT max(id) FROM events WHERE work_id IN (SELECT value FROM json_each(?))), 0))",
    )?;
    let events = change("DELETE FROM events WHERE work_id IN (SELECT value FROM json_each(?))")?;
    change("DELETE FROM works WHERE id IN (SELECT value FROM json_each(?))")?;
    Ok(events)
}
