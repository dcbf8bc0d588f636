//! Reports of workers: completions, leases, attempts handed back, rescue.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::rows::{Freed, MessageIdRow, column, microseconds, sorted};
use super::{PostgresStore, complete, trial};
use crate::domain::Run;
use crate::store::{Completed, Completion, Completions, Guard, HANDED_BACK, Result, RunningAttempt};

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

/// The rows that are still running as these attempts, given as three columns, locked in the order of all.
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
        let Some(first) = completions.first().cloned() else {
            return Ok(Vec::new());
        };
        let rows = sorted(completions, |one| &one.message_id);
        let lost = AtomicBool::new(false);
        let complete = move |connection: &mut PgConnection| {
            let (mut applied, present) = complete::complete(connection, &rows).inspect_err(|failure| {
                if !matches!(failure, Failure::Violated(_)) {
                    lost.store(true, Ordering::Relaxed);
                }
            })?;
            // An earlier try may have taken effect without a reply. A row that runs as this very attempt counts as its
            // effect: at worst two workers compute it, and the first result counts.
            if lost.load(Ordering::Relaxed) {
                applied.extend(complete::running(connection, &rows)?);
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
        let (rows, lease) = (attempts.to_vec(), microseconds(lease));
        let extended = self
            .run(move |connection| {
                let extended: Vec<Extended> = sql_query(format!(
                    "WITH {HELD}
                    UPDATE works SET due_at = now() + $4 * interval '1 microsecond', due_set_on = now()
                    FROM held WHERE works.id = held.id
                    RETURNING works.message_id, works.generation, works.attempt",
                ))
                .bind::<Array<Text>, _>(column(&rows, |row| row.message_id.as_str()))
                .bind::<Array<Integer>, _>(column(&rows, |row| row.run.generation))
                .bind::<Array<Integer>, _>(column(&rows, |row| row.run.attempt))
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
        let rows = attempts.to_vec();
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
            .bind::<Array<Text>, _>(column(&rows, |row| row.message_id.as_str()))
            .bind::<Array<Integer>, _>(column(&rows, |row| row.run.generation))
            .bind::<Array<Integer>, _>(column(&rows, |row| row.run.attempt))
            .load::<MessageIdRow>(connection)?;
            Ok(freed.len() as u64)
        })
        .await
    }

    async fn rescue(&self, max_lost: i32, limit: u16) -> Result<u64> {
        let rescued = self
            .run(move |connection| complete::rescue(connection, "due_at <= now()", max_lost, i64::from(limit)))
            .await?;
        Ok(Freed::log(&rescued))
    }
}
