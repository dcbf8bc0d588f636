//! The outbox: claims of due rows, marked as sent, given back or lost.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::rows::{CLAIM, ClaimRow, NOW, insert_events, json_rows, millis, parsed};
use super::{SqliteStore, complete, waits};
use crate::domain::{KindName, Status, Variable};
use crate::store::{CLAIMED_BYTES, Claim, DispatchRows, LEASE_LOST, Result};

#[derive(QueryableByName)]
struct Kind {
    #[diesel(sql_type = Text)]
    kind: String,
}

/// The kinds that have pending rows, found by as many steps in the index as there are, and one NULL behind them.
pub(super) const PENDING_KINDS: &str = "pending_kinds (kind) AS (
    SELECT min(kind) FROM works WHERE status = 'pending'
    UNION ALL
    SELECT (SELECT min(works.kind) FROM works WHERE status = 'pending' AND works.kind > pending_kinds.kind)
    FROM pending_kinds WHERE kind IS NOT NULL
)";

/// The condition of running rows whose workers are consumers. Workers outside go on while these start again.
const OWN_WORKERS: &str = "(worker IS NULL OR worker GLOB 'consumer:*')";

/// The condition of kinds that are sent.
const SENT: &str = "is_open AND NOT is_pulled";

/// The kinds that have pending rows and for which this holds, except `skipped` ones.
fn kinds_with_due(connection: &mut SqliteConnection, which: &str, skipped: &[String]) -> QueryResult<Vec<String>> {
    let kinds: Vec<Kind> = sql_query(format!(
        "WITH RECURSIVE {PENDING_KINDS} SELECT kind FROM pending_kinds JOIN kinds ON name = kind AND {which}"
    ))
    .load(connection)?;
    let kinds = kinds.into_iter().map(|row| row.kind);
    Ok(kinds.filter(|kind| !skipped.contains(kind)).collect())
}

fn names(kinds: &[KindName]) -> Vec<String> {
    kinds.iter().map(ToString::to_string).collect()
}

#[derive(QueryableByName)]
struct Millis {
    #[diesel(sql_type = BigInt)]
    millis: i64,
}

#[derive(QueryableByName)]
struct OldestDue {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    millis: Option<i64>,
}

#[derive(QueryableByName)]
struct NextDue {
    #[diesel(sql_type = Nullable<BigInt>)]
    millis: Option<i64>,
}

impl From<Millis> for Duration {
    fn from(Millis { millis }: Millis) -> Self {
        Self::from_millis(u64::try_from(millis).unwrap_or_default())
    }
}

#[async_trait]
impl DispatchRows for SqliteStore {
    async fn claim(
        &self,
        skipped: &[KindName],
        within: Option<Duration>,
        hold: Duration,
        limit: u16,
    ) -> Result<Vec<Claim>> {
        let skipped = names(skipped);
        let oldest = within.map_or(i64::MAX, millis);
        self.write_without_sync(move |connection| {
            let mut claims = Vec::new();
            for kind in kinds_with_due(connection, SENT, &skipped)? {
                let rows: Vec<ClaimRow> = sql_query(format!(
                    "UPDATE works SET due_at = {NOW} + ?1, sent_at = {NOW} WHERE id IN (
                         SELECT id FROM (
                             SELECT id, sum(bytes) OVER (ORDER BY due_at, id) - bytes AS before FROM (
                                 SELECT id, due_at, octet_length(args) AS bytes FROM works
                                 WHERE status = 'pending' AND kind = ?4 AND due_at <= {NOW} AND due_at > {NOW} - ?2
                                 ORDER BY due_at LIMIT ?3))
                         WHERE before < {CLAIMED_BYTES})
                     RETURNING {CLAIM}"
                ))
                .bind::<BigInt, _>(millis(hold))
                .bind::<BigInt, _>(oldest)
                .bind::<Integer, _>(i32::from(limit))
                .bind::<Text, _>(kind)
                .load(connection)?;
                for row in rows {
                    claims.push(row.into_claim()?);
                }
            }
            Ok(claims)
        })
        .await
    }

    async fn pending_kinds(&self) -> Result<Vec<KindName>> {
        self.read(|connection| {
            let select = format!(
                "WITH RECURSIVE {PENDING_KINDS} SELECT kind FROM pending_kinds WHERE kind IS NOT NULL
                     AND NOT EXISTS (SELECT 1 FROM kinds WHERE name = kind AND is_pulled)"
            );
            let kinds: Vec<Kind> = sql_query(select).load(connection)?;
            kinds.into_iter().map(|row| parsed("kind", row.kind.parse())).collect()
        })
        .await
    }

    async fn mark_sent(&self, claims: &[Claim]) -> Result<()> {
        self.end_claims(claims, "due_at = NULL").await
    }

    async fn give_back(&self, claims: &[Claim]) -> Result<()> {
        self.end_claims(claims, &format!("due_at = {NOW}, due_set_on = NULL, sent_at = NULL"))
            .await
    }

    async fn release_sent(&self, kind: &KindName, longer_than: Duration) -> Result<u64> {
        let kind = kind.clone();
        self.write(move |connection| {
            sql_query(format!(
                "UPDATE works SET due_at = {NOW}, due_set_on = NULL, sent_at = NULL
                 WHERE status = 'pending'
                   AND (sent_at <= {NOW} - ? OR sent_at > {NOW} + 1000) AND kind = ?"
            ))
            .bind::<BigInt, _>(millis(longer_than))
            .bind::<Text, _>(kind.as_str())
            .execute(connection)
            .map(|rows| rows as u64)
        })
        .await
    }

    async fn next_due(&self, skipped: &[KindName]) -> Result<Option<Duration>> {
        let skipped = names(skipped);
        self.read(move |connection| {
            let kinds = kinds_with_due(connection, SENT, &skipped)?;
            let next: NextDue = sql_query(format!(
                "SELECT min(until) - {NOW} AS millis FROM (
                     SELECT (SELECT due_at FROM works WHERE status = 'pending' AND kind = input.value
                             AND due_at > {NOW} - 1000 ORDER BY due_at LIMIT 1) AS until
                     FROM json_each(?) AS input
                     UNION ALL
                     SELECT min(lease_until) FROM works WHERE status = 'running' AND lease_until > {NOW} - 1000)"
            ))
            .bind::<Text, _>(json_rows(kinds.iter().map(|kind| json!(kind))))
            .get_result(connection)?;
            Ok(next
                .millis
                .map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default())))
        })
        .await
    }

    async fn oldest_due(&self) -> Result<Vec<(KindName, Duration)>> {
        self.read(|connection| {
            let kinds = kinds_with_due(connection, "is_open", &[])?;
            let oldest: Vec<OldestDue> = sql_query(format!(
                "SELECT input.value AS kind, {NOW} - (
                     SELECT due_at FROM works WHERE status = 'pending' AND kind = input.value AND due_at <= {NOW}
                     ORDER BY due_at LIMIT 1) AS millis
                 FROM json_each(?) AS input"
            ))
            .bind::<Text, _>(json_rows(kinds.iter().map(|kind| json!(kind))))
            .load(connection)?;
            let due = oldest.into_iter().filter_map(|row| Some((row.kind, row.millis?)));
            let of_kind = |(kind, millis): (String, i64)| Ok((parsed("kind", kind.parse())?, Millis { millis }.into()));
            due.map(of_kind).collect()
        })
        .await
    }

    async fn lose_sent(&self, max_lost: i32) -> Result<u64> {
        let lost = self.write(move |connection| lose_sent(connection, max_lost)).await?;
        Ok(complete::Freed::log(&lost))
    }

    async fn lose_running(&self, max_lost: i32) -> Result<u64> {
        let lost = self
            .write(move |connection| complete::rescue(connection, OWN_WORKERS, max_lost, -1))
            .await?;
        Ok(complete::Freed::log(&lost))
    }

    async fn clock(&self) -> Result<Duration> {
        self.read(|connection| {
            let clock: Millis = sql_query(format!("SELECT {NOW} AS millis")).get_result(connection)?;
            Ok(clock.into())
        })
        .await
    }

    async fn shorten_waits(&self, most: Option<u32>) -> Result<u64> {
        let mut shortened = self.write(waits::shorten_leases).await?;
        loop {
            let some = self
                .write(move |connection| waits::shorten(connection, most.map(i64::from)))
                .await?;
            shortened += some;
            if some < waits::AT_ONCE {
                return Ok(shortened as u64);
            }
        }
    }
}

impl SqliteStore {
    /// Changes the rows that are still as they were claimed.
    async fn end_claims(&self, claims: &[Claim], change: &str) -> Result<()> {
        let claims = json_rows(
            claims
                .iter()
                .map(|claim| json!([claim.id, claim.due_at.0, claim.run.generation, claim.run.attempt])),
        );
        let sql = format!(
            "UPDATE works SET {change} FROM json_each(?) AS input
             WHERE works.id = input.value ->> 0 AND works.due_at = input.value ->> 1
               AND works.generation = input.value ->> 2 AND works.attempt = input.value ->> 3
               AND works.status = 'pending'"
        );
        self.write_without_sync(move |connection| {
            sql_query(sql).bind::<Text, _>(claims).execute(connection).map(|_| ())
        })
        .await
    }
}

/// Makes sent rows due again, or fails them. The attempt did not begin, so nothing that is shown changes unless the work is
/// given up.
fn lose_sent(connection: &mut SqliteConnection, max_lost: i32) -> QueryResult<Vec<complete::Freed>> {
    let lost: Vec<complete::Freed> = sql_query(format!(
        "UPDATE works SET lost_leases = lost_leases + 1, sent_at = NULL, due_set_on = NULL,
                status = iif(lost_leases < ?1, 'pending', 'failed'), due_at = iif(lost_leases < ?1, {NOW}, NULL),
                version = iif(lost_leases < ?1, version, version + 1),
                updated_on = iif(lost_leases < ?1, updated_on, {NOW}),
                error = iif(lost_leases < ?1, error, '{LEASE_LOST}')
         WHERE status = 'pending' AND sent_at IS NOT NULL
         RETURNING id, generation, status, work_code"
    ))
    .bind::<Integer, _>(max_lost)
    .load(connection)?;
    let given_up: Vec<&complete::Freed> = lost.iter().filter(|row| row.is_given_up()).collect();
    let starts = given_up
        .iter()
        .map(|row| json!([row.id, row.generation, Variable::ComputeStart.as_str(), ""]));
    insert_events(connection, json_rows(starts))?;
    complete::tell_of_end(connection, given_up, Status::Pending, LEASE_LOST)?;
    Ok(lost)
}
