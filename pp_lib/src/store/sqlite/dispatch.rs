//! The outbox: claims of due rows, marked as sent, given back or lost.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::deltas::{self, Moved};
use super::rows::{CLAIM, ClaimRow, NOW, insert_dead_letters, insert_events, json_rows, millis};
use super::{SqliteStore, complete, waits};
use crate::domain::{Status, Variable};
use crate::store::{Claim, DispatchRows, LEASE_LOST, Result, log_given_up};

#[derive(QueryableByName)]
struct Millis {
    #[diesel(sql_type = BigInt)]
    millis: i64,
}

impl From<Millis> for Duration {
    fn from(Millis { millis }: Millis) -> Self {
        Self::from_millis(u64::try_from(millis).unwrap_or_default())
    }
}

#[derive(QueryableByName)]
struct Lost {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Text)]
    work_code: String,
}

#[async_trait]
impl DispatchRows for SqliteStore {
    async fn claim(&self, within: Option<Duration>, hold: Duration, limit: u16) -> Result<Vec<Claim>> {
        let oldest = within.map_or(i64::MAX, millis);
        self.write(move |connection| {
            let rows: Vec<ClaimRow> = sql_query(format!(
                "UPDATE works SET due_at = {NOW} + ?, sent_at = {NOW} WHERE id IN (
                     SELECT id FROM works
                     WHERE status IN ('pending', 'running') AND status = 'pending'
                       AND due_at <= {NOW} AND due_at > {NOW} - ?
                     ORDER BY due_at LIMIT ?)
                 RETURNING {CLAIM}"
            ))
            .bind::<BigInt, _>(millis(hold))
            .bind::<BigInt, _>(oldest)
            .bind::<Integer, _>(i32::from(limit))
            .load(connection)?;
            rows.into_iter().map(ClaimRow::into_claim).collect()
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

    async fn release_sent(&self, longer_than: Duration) -> Result<u64> {
        self.write(move |connection| {
            sql_query(format!(
                "UPDATE works SET due_at = {NOW}, due_set_on = NULL, sent_at = NULL
                 WHERE status IN ('pending', 'running') AND status = 'pending'
                   AND (sent_at <= {NOW} - ? OR sent_at > {NOW} + 1000)"
            ))
            .bind::<BigInt, _>(millis(longer_than))
            .execute(connection)
            .map(|rows| rows as u64)
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        self.read(|connection| {
            let next: Option<Millis> = sql_query(format!(
                "SELECT due_at - {NOW} AS millis FROM works
                 WHERE status IN ('pending', 'running') AND due_at > {NOW} - 1000 ORDER BY due_at LIMIT 1"
            ))
            .load(connection)?
            .pop();
            Ok(next.map(Duration::from))
        })
        .await
    }

    async fn lose_sent(&self, max_lost: i32) -> Result<u64> {
        let lost = self.write(move |connection| {
            let given_up = give_up_sent(connection, max_lost)?;
            let due_again = sql_query(format!(
                "UPDATE works SET due_at = {NOW}, due_set_on = NULL, sent_at = NULL, attempt = attempt + 1,
                     lost_leases = lost_leases + 1
                 WHERE status IN ('pending', 'running') AND status = 'pending' AND sent_at IS NOT NULL"
            ))
            .execute(connection)?;
            Ok((given_up, due_again))
        });
        let (given_up, due_again) = lost.await?;
        for row in &given_up {
            log_given_up(&row.work_code, LEASE_LOST);
        }
        Ok((given_up.len() + due_again) as u64)
    }

    async fn lose_running(&self, max_lost: i32) -> Result<u64> {
        let lost = self
            .write(move |connection| complete::rescue(connection, "true", max_lost, -1))
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
        self.write(move |connection| sql_query(sql).bind::<Text, _>(claims).execute(connection).map(|_| ()))
            .await
    }
}

/// Fails the rows that were lost too often, and returns them. An attempt that only its message told of leaves no events
/// unless it was the last.
fn give_up_sent(connection: &mut SqliteConnection, max_lost: i32) -> QueryResult<Vec<Lost>> {
    let lost: Vec<Lost> = sql_query(format!(
        "UPDATE works SET status = 'failed', due_at = NULL, sent_at = NULL, lost_leases = lost_leases + 1,
                version = version + 1, updated_on = {NOW}
         WHERE status IN ('pending', 'running') AND status = 'pending' AND sent_at IS NOT NULL AND lost_leases >= ?
         RETURNING id, generation, work_code"
    ))
    .bind::<Integer, _>(max_lost)
    .load(connection)?;
    let events = lost.iter().flat_map(|row| {
        let event = |variable: Variable, value| json!([row.id, row.generation, variable.as_str(), value]);
        [
            event(Variable::ComputeStart, ""),
            event(Variable::ComputeError, LEASE_LOST),
        ]
    });
    insert_events(connection, json_rows(events))?;
    deltas::record(connection, lost.iter().map(|row| Moved::from(Status::Pending, row.id)))?;
    insert_dead_letters(
        connection,
        json_rows(lost.iter().map(|row| json!([row.id, LEASE_LOST]))),
    )?;
    Ok(lost)
}
