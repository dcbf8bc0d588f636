//! Reports of workers: completions, leases, attempts handed back, rescue.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, SmallInt, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::complete::Recorded;
use super::rows::{Freed, MessageIdRow, column, microseconds, sorted};
use super::{PostgresStore, complete, trial};
use crate::domain::{KindName, Progress, Run};
use crate::store::metrics;
use crate::store::views::bucket_end_ms;
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

/// The rows that are still running as these attempts, given as a kind and three columns, locked in the order of all.
const HELD: &str = "held AS MATERIALIZED (
    SELECT works.id, works.message_id
    FROM unnest($2, $3, $4) AS run (message_id, generation, attempt)
    JOIN works USING (message_id, generation, attempt)
    WHERE works.kind = $1 AND works.status = 'running'
    ORDER BY works.message_id
    FOR NO KEY UPDATE OF works
)";

#[async_trait]
impl Completions for PostgresStore {
    async fn complete(&self, kind: &KindName, completions: &[Completion]) -> Result<Vec<Completed>> {
        let Some(first) = completions.first().cloned() else {
            return Ok(Vec::new());
        };
        let rows = sorted(completions, |one| &one.message_id);
        let (of_complete, of_trial) = (kind.clone(), kind.clone());
        let complete = move |connection: &mut PgConnection| {
            let mut recorded = complete::complete(connection, &of_complete, &rows)?;
            // An earlier try may have taken effect without a reply. A row with the same claim is its effect.
            complete::add_claimed(connection, &of_complete, &rows, &mut recorded.applied)?;
            Ok(recorded)
        };
        let trial = move |connection: &mut PgConnection| trial::complete(connection, &of_trial, &first);
        let Recorded {
            mut applied,
            present,
            latencies,
        } = self.run_proved(completions.len(), complete, trial).await?;
        let seconds = latencies.into_iter().map(|bucket| bucket_end_ms(bucket) / 1000.0);
        metrics::done_after(kind, seconds);
        Ok(completions
            .iter()
            .map(|completion| {
                let message_id = completion.message_id.as_str();
                match applied.remove(message_id) {
                    Some(Some(args)) => Completed::Started(args),
                    Some(None) => Completed::Applied,
                    None if completion.guard != Guard::NoRow || present.contains(message_id) => Completed::Superseded,
                    None => Completed::CodeTaken,
                }
            })
            .collect())
    }

    async fn extend_leases(&self, kind: &KindName, attempts: &[RunningAttempt], lease: Duration) -> Result<Vec<bool>> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let (kind, rows, lease) = (kind.clone(), attempts.to_vec(), microseconds(lease));
        let extended = self
            .run(move |connection| {
                let extended: Vec<Extended> = sql_query(format!(
                    "WITH {HELD}
                    UPDATE works SET lease_until = now() + $5 * interval '1 microsecond', due_set_on = now()
                    FROM held WHERE works.id = held.id
                    RETURNING works.message_id, works.generation, works.attempt",
                ))
                .bind::<Text, _>(kind.as_str())
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

    async fn report_progress(&self, kind: &KindName, reports: &[(RunningAttempt, Progress)]) -> Result<u64> {
        if reports.is_empty() {
            return Ok(0);
        }
        let (kind, rows) = (kind.clone(), reports.to_vec());
        self.run(move |connection| {
            let reported = sql_query(format!(
                "WITH {HELD}, reported AS (
                    UPDATE works SET progress = report.percent, note = report.note, version = version + 1,
                        updated_on = now()
                    FROM held JOIN unnest($2, $3, $4, $5, $6, $7)
                        AS report (message_id, generation, attempt, percent, note, event) USING (message_id)
                    WHERE works.id = held.id AND (works.generation, works.attempt) = (report.generation, report.attempt)
                    RETURNING works.id, works.message_id, works.generation, works.status, report.event
                ), logged AS (
                    INSERT INTO events (work_id, generation, variable, value, status)
                    SELECT id, generation, 'compute/progress', event, status FROM reported
                )
                SELECT message_id FROM reported",
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Array<Text>, _>(column(&rows, |(run, _)| run.message_id.as_str()))
            .bind::<Array<Integer>, _>(column(&rows, |(run, _)| run.run.generation))
            .bind::<Array<Integer>, _>(column(&rows, |(run, _)| run.run.attempt))
            .bind::<Array<SmallInt>, _>(column(&rows, |(_, progress)| i16::from(progress.percent)))
            .bind::<Array<Text>, _>(column(&rows, |(_, progress)| progress.note.as_str()))
            .bind::<Array<Text>, _>(column(&rows, |(_, progress)| progress.event()))
            .load::<MessageIdRow>(connection)?;
            Ok(reported.len() as u64)
        })
        .await
    }

    async fn hand_back(&self, kind: &KindName, attempts: &[RunningAttempt]) -> Result<u64> {
        if attempts.is_empty() {
            return Ok(0);
        }
        let (kind, rows) = (kind.clone(), attempts.to_vec());
        self.run(move |connection| {
            let freed = sql_query(format!(
                "WITH {HELD}, freed AS (
                    UPDATE works SET
                        status = 'pending', attempt = attempt + 1, due_at = now(), lease_until = NULL,
                        due_set_on = NULL, claim = NULL, worker = NULL, sent_at = NULL,
                        version = version + 1, updated_on = now()
                    FROM held WHERE works.id = held.id
                    RETURNING works.id, works.generation, works.message_id, works.origin, works.status
                ), logged AS (
                    INSERT INTO events (work_id, generation, variable, value, status)
                    SELECT id, generation, 'compute/error', '{HANDED_BACK}', status FROM freed
                ), counted AS (
                    INSERT INTO stat_deltas (kind, origin, was, status, works)
                    SELECT $1, origin, 'running', status, count(*) FROM freed GROUP BY origin, status
                )
                SELECT message_id FROM freed",
            ))
            .bind::<Text, _>(kind.as_str())
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
            .run(move |connection| complete::rescue(connection, "lease_until <= now()", max_lost, i64::from(limit)))
            .await?;
        Ok(Freed::log(&rescued))
    }
}
