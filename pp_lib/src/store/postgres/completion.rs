//! What workers record: completions, leases and the rescue of those that ran out.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::complete_rows::{self, CompleteRows};
use super::dispatch::{COLUMNS, ClaimRow, microseconds};
use super::failure::Failure;
use super::trial;
use crate::domain::{Run, WorkCode};
use crate::store::{
    Claim, Completed, Completion, Completions, Guard, HANDED_BACK, LEASE_LOST, Result, RunningAttempt, log_given_up,
};

/// A running row that is still the worker's.
#[derive(QueryableByName)]
struct Extended {
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Integer)]
    attempt: i32,
}

impl Extended {
    fn key(&self) -> (&str, Run) {
        let run = Run {
            generation: self.generation,
            attempt: self.attempt,
        };
        (self.message_id.as_str(), run)
    }
}

/// A row, by the demand it belongs to.
#[derive(QueryableByName)]
pub(super) struct Found {
    #[diesel(sql_type = Text)]
    pub(super) message_id: String,
}

/// A row that lost its worker.
#[derive(QueryableByName)]
pub(super) struct Freed {
    #[diesel(sql_type = Text)]
    work_code: String,
    /// Whether that was once too often.
    #[diesel(sql_type = Bool)]
    given_up: bool,
}

impl Freed {
    /// What is asked of a query that frees rows.
    pub(super) const COLUMNS: &str = "work_code, status = 'failed' AS given_up";

    /// Logs those that were given up; how many rows there are.
    pub(super) fn told(freed: &[Self]) -> u64 {
        for row in freed.iter().filter(|row| row.given_up) {
            log_given_up(&row.work_code, LEASE_LOST);
        }
        freed.len() as u64
    }
}

/// Running attempts as columns.
struct RunRows {
    message_ids: Vec<String>,
    generations: Vec<i32>,
    attempts: Vec<i32>,
}

impl RunRows {
    fn new(attempts: &[RunningAttempt]) -> Self {
        Self {
            message_ids: attempts.iter().map(|run| run.message_id.as_str().to_owned()).collect(),
            generations: attempts.iter().map(|one| one.run.generation).collect(),
            attempts: attempts.iter().map(|one| one.run.attempt).collect(),
        }
    }
}

/// The rows of [`RunRows`] that are still running as these attempts, locked in the order of all.
const HELD: &str = "held AS MATERIALIZED (
    SELECT works.id
    FROM unnest($1, $2, $3) AS run (message_id, generation, attempt)
    JOIN works USING (message_id, generation, attempt)
    WHERE works.status = 'running'
    ORDER BY works.message_id
    FOR NO KEY UPDATE OF works
)";

#[async_trait]
impl Completions for PostgresStore {
    async fn complete(&self, completions: &[Completion]) -> Result<Vec<Completed>> {
        if completions.is_empty() {
            return Ok(Vec::new());
        }
        let (rows, first) = (CompleteRows::new(completions), completions[0].clone());
        let lost = AtomicBool::new(false);
        let complete = move |connection: &mut PgConnection| {
            let (mut applied, present) = complete_rows::complete(connection, &rows).inspect_err(|failure| {
                if !matches!(failure, Failure::Violated(_)) {
                    lost.store(true, Ordering::Relaxed);
                }
            })?;
            // An earlier try may have taken effect without its worker being told. What runs as this very attempt
            // then is taken for its own: at worst two compute it, and the first result counts.
            if lost.load(Ordering::Relaxed) {
                applied.extend(complete_rows::running(connection, &rows)?);
            }
            Ok((applied, present))
        };
        let trial = move |connection: &mut PgConnection| trial::complete(connection, &first);
        let (applied, present) = self.run_proved(completions.len(), complete, trial).await?;
        Ok(completions
            .iter()
            .map(|completion| {
                let among = |found: &HashSet<String>| found.contains(completion.message_id.as_str());
                if among(&applied) {
                    Completed::Applied
                } else if completion.guard != Guard::NoRow || among(&present) {
                    Completed::Superseded
                } else {
                    Completed::CodeTaken
                }
            })
            .collect())
    }

    async fn extend_leases(&self, attempts: &[RunningAttempt], lease: Duration) -> Result<Vec<bool>> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let (rows, lease) = (RunRows::new(attempts), microseconds(lease));
        let extended = self
            .run(move |connection| {
                let extended: Vec<Extended> = sql_query(format!(
                    "WITH {HELD}
                    UPDATE works SET due_at = now() + $4 * interval '1 microsecond', due_set_on = now()
                    FROM held WHERE works.id = held.id
                    RETURNING works.message_id, works.generation, works.attempt",
                ))
                .bind::<Array<Text>, _>(&rows.message_ids)
                .bind::<Array<Integer>, _>(&rows.generations)
                .bind::<Array<Integer>, _>(&rows.attempts)
                .bind::<BigInt, _>(lease)
                .load(connection)?;
                Ok(extended)
            })
            .await?;
        let extended: HashSet<(&str, Run)> = extended.iter().map(Extended::key).collect();
        let still = |one: &RunningAttempt| extended.contains(&(one.message_id.as_str(), one.run));
        Ok(attempts.iter().map(still).collect())
    }

    async fn hand_back(&self, attempts: &[RunningAttempt]) -> Result<u64> {
        if attempts.is_empty() {
            return Ok(0);
        }
        let rows = RunRows::new(attempts);
        self.run(move |connection| {
            let freed = sql_query(format!(
                "WITH {HELD}, freed AS (
                    UPDATE works SET
                        status = 'pending', attempt = attempt + 1, due_at = now(), due_set_on = NULL, sent_at = NULL,
                        version = version + 1, updated_on = now()
                    FROM held WHERE works.id = held.id
                    RETURNING works.id, works.generation, works.message_id, works.origin, works.status
                ), logged AS (
                    INSERT INTO events (work_id, generation, variable, value, status)
                    SELECT id, generation, 'compute/error', '{HANDED_BACK}', status FROM freed
                ), counted AS (
                    INSERT INTO stat_deltas (origin, was, status, works)
                    SELECT origin, 'running', status, count(*) FROM freed GROUP BY origin, status
                )
                SELECT message_id FROM freed",
            ))
            .bind::<Array<Text>, _>(&rows.message_ids)
            .bind::<Array<Integer>, _>(&rows.generations)
            .bind::<Array<Integer>, _>(&rows.attempts)
            .load::<Found>(connection)?;
            Ok(freed.len() as u64)
        })
        .await
    }

    async fn pending(&self, codes: &[WorkCode]) -> Result<Vec<Claim>> {
        let codes: Vec<String> = codes.iter().map(|code| code.as_str().to_owned()).collect();
        self.run(move |connection| {
            let rows: Vec<ClaimRow> = sql_query(format!(
                "SELECT {COLUMNS} FROM works
                WHERE work_code = ANY($1) AND status = 'pending' AND deleted_on IS NULL"
            ))
            .bind::<Array<Text>, _>(&codes)
            .load(connection)?;
            rows.into_iter().map(ClaimRow::into_claim).collect()
        })
        .await
    }

    async fn rescue(&self, max_lost: i32, limit: u16) -> Result<u64> {
        let rescued = self
            .run(move |connection| rescue(connection, "due_at <= now()", max_lost, i64::from(limit)))
            .await?;
        Ok(Freed::told(&rescued))
    }
}

/// Takes running rows of which this holds back to pending, or fails them.
pub(super) fn rescue(
    connection: &mut PgConnection,
    lost: &str,
    max_lost: i32,
    limit: i64,
) -> std::result::Result<Vec<Freed>, Failure> {
    let rescued = sql_query(format!(
        "WITH lost AS MATERIALIZED (
            SELECT id FROM works
            WHERE status = 'running' AND {lost}
            ORDER BY due_at LIMIT $2
            FOR NO KEY UPDATE SKIP LOCKED
        ), freed AS (
            UPDATE works SET
                status = CASE WHEN lost_leases < $1 THEN 'pending' ELSE 'failed' END::work_status,
                attempt = attempt + CASE WHEN lost_leases < $1 THEN 1 ELSE 0 END,
                due_at = CASE WHEN lost_leases < $1 THEN now() END, due_set_on = NULL,
                lost_leases = lost_leases + 1, sent_at = NULL,
                version = version + 1, updated_on = now()
            FROM lost WHERE works.id = lost.id
            RETURNING works.id, works.generation, works.attempt, works.message_id, works.origin, works.status,
                works.work_code
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, 'compute/error', '{LEASE_LOST}', status FROM freed
        ), counted AS (
            INSERT INTO stat_deltas (origin, was, status, works)
            SELECT origin, 'running', status, count(*) FROM freed GROUP BY origin, status
        ), given_up AS (
            INSERT INTO dead_letters (work_id, generation, message_id, reason, attempts)
            SELECT id, generation, message_id, '{LEASE_LOST}', attempt FROM freed WHERE status = 'failed'
            ON CONFLICT DO NOTHING
        )
        SELECT {} FROM freed",
        Freed::COLUMNS
    ))
    .bind::<Integer, _>(max_lost)
    .bind::<BigInt, _>(limit)
    .load(connection)?;
    Ok(rescued)
}
