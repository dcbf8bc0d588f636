//! Reports of workers: completions, leases, attempts handed back, rescue.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::rows::{NOW, insert_events, json_rows, millis};
use super::{SqliteStore, complete, trial};
use crate::domain::{KindName, Progress, Run, Status, Variable};
use crate::store::{Completed, Completion, Completions, HANDED_BACK, Result, RunningAttempt, metrics};

#[derive(QueryableByName)]
struct Extended {
    #[diesel(sql_type = BigInt)]
    id: i64,
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

/// The rows of [`run_rows`] that are still running as these attempts.
const OF_RUNS: &str = "FROM json_each(?2) AS input
    WHERE works.message_id = input.value ->> 0 AND works.kind = ?1 AND works.status = 'running'
      AND works.generation = input.value ->> 1 AND works.attempt = input.value ->> 2";

fn run_rows(attempts: &[RunningAttempt]) -> String {
    json_rows(
        attempts
            .iter()
            .map(|RunningAttempt { message_id, run }| json!([message_id.as_str(), run.generation, run.attempt])),
    )
}

#[async_trait]
impl Completions for SqliteStore {
    async fn complete(&self, kind: &KindName, completions: &[Completion]) -> Result<Vec<Completed>> {
        let Some(first) = completions.first().cloned() else {
            return Ok(Vec::new());
        };
        let completions = completions.to_vec();
        let (of_complete, of_trial) = (kind.clone(), kind.clone());
        let (completed, latencies) = self
            .write_proved(
                completions.len(),
                move |connection| complete::complete(connection, &of_complete, &completions),
                move |connection| trial::complete(connection, &of_trial, &first),
            )
            .await?;
        metrics::done_after(kind, latencies.into_iter().map(|millis| millis.max(0) as f64 / 1000.0));
        Ok(completed)
    }

    async fn extend_leases(&self, kind: &KindName, attempts: &[RunningAttempt], lease: Duration) -> Result<Vec<bool>> {
        let (kind, attempts) = (kind.clone(), attempts.to_vec());
        self.write(move |connection| {
            let mine: Vec<Extended> = sql_query(format!(
                "UPDATE works SET lease_until = {NOW} + ?3, due_set_on = {NOW} {OF_RUNS}
                 RETURNING works.id, works.message_id, works.generation, works.attempt"
            ))
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(run_rows(&attempts))
            .bind::<BigInt, _>(millis(lease))
            .load(connection)?;
            let mine: HashSet<(&str, Run)> = mine.iter().map(Extended::key).collect();
            let still = |one: &RunningAttempt| mine.contains(&(one.message_id.as_str(), one.run));
            Ok(attempts.iter().map(still).collect())
        })
        .await
    }

    async fn report_progress(&self, kind: &KindName, reports: &[(RunningAttempt, Progress)]) -> Result<u64> {
        let (kind, reports) = (kind.clone(), reports.to_vec());
        self.write(move |connection| report_progress(connection, &kind, &reports))
            .await
    }

    async fn hand_back(&self, kind: &KindName, attempts: &[RunningAttempt]) -> Result<u64> {
        let (kind, attempts) = (kind.clone(), attempts.to_vec());
        self.write(move |connection| hand_back(connection, &kind, &attempts))
            .await
    }

    async fn rescue(&self, max_lost: i32, limit: u16) -> Result<u64> {
        let rescued = self
            .write(move |connection| {
                complete::rescue(connection, &format!("lease_until <= {NOW}"), max_lost, limit.into())
            })
            .await?;
        Ok(complete::Freed::log(&rescued))
    }
}

fn report_progress(
    connection: &mut SqliteConnection,
    kind: &KindName,
    reports: &[(RunningAttempt, Progress)],
) -> QueryResult<u64> {
    let input = json_rows(reports.iter().map(|(RunningAttempt { message_id, run }, progress)| {
        json!([
            message_id.as_str(),
            run.generation,
            run.attempt,
            progress.percent,
            progress.note
        ])
    }));
    let reported: Vec<Extended> = sql_query(format!(
        "UPDATE works SET progress = input.value ->> 3, note = input.value ->> 4, version = version + 1,
                updated_on = {NOW}
         {OF_RUNS}
         RETURNING works.id, works.message_id, works.generation, works.attempt"
    ))
    .bind::<Text, _>(kind.as_str())
    .bind::<Text, _>(input)
    .load(connection)?;
    let ids: HashMap<(&str, Run), i64> = reported.iter().map(|row| (row.key(), row.id)).collect();
    let events = reports
        .iter()
        .filter_map(|(RunningAttempt { message_id, run }, progress)| {
            let id = ids.get(&(message_id.as_str(), *run))?;
            let variable = Variable::ComputeProgress.as_str();
            Some(json!([id, run.generation, variable, progress.event()]))
        });
    insert_events(connection, json_rows(events))?;
    Ok(reported.len() as u64)
}

fn hand_back(connection: &mut SqliteConnection, kind: &KindName, attempts: &[RunningAttempt]) -> QueryResult<u64> {
    let freed: Vec<complete::Freed> = sql_query(format!(
        "UPDATE works SET status = 'pending', attempt = works.attempt + 1, due_at = {NOW}, lease_until = NULL,
                due_set_on = NULL, claim = NULL, worker = NULL, sent_at = NULL, version = version + 1, updated_on = {NOW}
         {OF_RUNS}
         RETURNING works.id, works.generation, works.status, works.work_code"
    ))
    .bind::<Text, _>(kind.as_str())
    .bind::<Text, _>(run_rows(attempts))
    .load(connection)?;
    complete::tell_of_end(connection, freed.iter().collect(), Status::Running, HANDED_BACK)?;
    Ok(freed.len() as u64)
}
