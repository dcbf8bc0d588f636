//! Claims of workers that ask the store: taken, extended and looked at.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::SqliteStore;
use super::deltas::{self, Moved};
use super::rows::{NOW, WORK, WorkRow, insert_events, json_rows, load_within, millis, parsed, unix_seconds};
use crate::domain::{Json, KindName, PAGE_BYTES, Progress, Run, Status, Variable, WorkId, WorkerName};
use crate::store::runs::{CONSUMER_THERE_WITHIN, FORGOTTEN_AFTER, THERE_WITHIN};
use crate::store::{
    CLAIMED_BYTES, ClaimedRun, Extension, HeldRun, LEASE_LOST, Place, Result, RunState, RunningWork, Runs, UntilDue,
    WorkerRow,
};

#[derive(QueryableByName)]
struct ClaimedRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Text)]
    args: String,
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Integer)]
    failures: i32,
    #[diesel(sql_type = Integer)]
    lost_leases: i32,
    #[diesel(sql_type = BigInt)]
    claim: i64,
    #[diesel(sql_type = BigInt)]
    began_on: i64,
    #[diesel(sql_type = BigInt)]
    lease_until: i64,
}

impl ClaimedRow {
    fn into_run(self) -> QueryResult<ClaimedRun> {
        Ok(ClaimedRun {
            id: WorkId(self.id),
            kind: parsed("kind", self.kind.parse())?,
            message_id: parsed("message_id", self.message_id.try_into())?,
            work_code: parsed("work_code", self.work_code.parse())?,
            args: Json::accepted(self.args),
            run: Run {
                generation: self.generation,
                attempt: self.attempt,
            },
            failures: self.failures,
            lost_leases: self.lost_leases,
            claim: self.claim,
            began_on: unix_seconds(self.began_on),
            lease_until: unix_seconds(self.lease_until),
        })
    }
}

#[derive(QueryableByName)]
struct UntilDueRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    millis: Option<i64>,
}

#[derive(QueryableByName)]
struct ExtendedRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    claim: i64,
    #[diesel(sql_type = BigInt)]
    lease_until: i64,
}

#[derive(QueryableByName)]
struct StateRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    asked_generation: i32,
    #[diesel(sql_type = Integer)]
    asked_attempt: i32,
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    claim: Option<i64>,
    #[diesel(sql_type = Integer)]
    failures: i32,
    #[diesel(sql_type = Bool)]
    is_deleted: bool,
    #[diesel(sql_type = Bool)]
    was_redriven: bool,
    #[diesel(sql_type = Bool)]
    was_lost: bool,
}

#[derive(QueryableByName)]
struct HeardRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kinds: String,
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    seen_on: i64,
    #[diesel(sql_type = Bool)]
    is_there: bool,
}

#[derive(QueryableByName)]
struct RunningRow {
    #[diesel(embed)]
    work: WorkRow,
    #[diesel(sql_type = Nullable<Text>)]
    worker: Option<String>,
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    heard_on: i64,
    #[diesel(sql_type = BigInt)]
    until: i64,
}

/// The rows of [`held_rows`] that are still running by these claims.
const HELD: &str = "FROM json_each(?) AS input
    WHERE works.id = input.value ->> 0 AND works.kind = input.value ->> 1 AND works.generation = input.value ->> 2
      AND works.attempt = input.value ->> 3 AND works.claim = input.value ->> 4
      AND works.status = 'running' AND works.deleted_on IS NULL";

/// A claim as an input row, with up to two more columns.
fn held_row(
    held: &HeldRun,
    first: impl Into<serde_json::Value>,
    second: impl Into<serde_json::Value>,
) -> serde_json::Value {
    let Run { generation, attempt } = held.run;
    json!([
        held.id,
        held.kind,
        generation,
        attempt,
        held.claim,
        first.into(),
        second.into()
    ])
}

#[async_trait]
impl Runs for SqliteStore {
    async fn claim_runs(&self, kinds: &[KindName], places: &[Place]) -> Result<Vec<ClaimedRun>> {
        if kinds.is_empty() || places.is_empty() {
            return Ok(Vec::new());
        }
        let (kinds, places) = (kinds.to_vec(), places.to_vec());
        self.write(move |connection| claim(connection, &kinds, &places)).await
    }

    async fn until_due(&self, kinds: &[KindName]) -> Result<Vec<UntilDue>> {
        let kinds = json_rows(kinds.iter().map(|kind| json!(kind)));
        self.read(move |connection| {
            let rows: Vec<UntilDueRow> = sql_query(format!(
                "SELECT name AS kind, (
                     SELECT due_at FROM works WHERE status = 'pending' AND kind = name AND due_at IS NOT NULL
                     ORDER BY due_at LIMIT 1
                 ) - {NOW} AS millis
                 FROM kinds WHERE name IN (SELECT value FROM json_each(?)) AND is_open"
            ))
            .bind::<Text, _>(&kinds)
            .load(connection)?;
            let due = rows.into_iter().filter_map(|row| Some((row.kind, row.millis?)));
            let of_kind = |(kind, millis): (String, i64)| {
                let millis = u64::try_from(millis).unwrap_or_default();
                Ok((parsed("kind", kind.parse())?, Duration::from_millis(millis)))
            };
            due.map(of_kind).collect()
        })
        .await
    }

    async fn extend_runs(&self, extensions: &[Extension]) -> Result<Vec<Option<i64>>> {
        if extensions.is_empty() {
            return Ok(Vec::new());
        }
        let input = json_rows(
            extensions
                .iter()
                .map(|one| held_row(&one.held, millis(one.lease), one.ends_on.saturating_mul(1000))),
        );
        let extended: Vec<ExtendedRow> = self
            .write(move |connection| {
                sql_query(format!(
                    "UPDATE works SET due_set_on = {NOW},
                         lease_until = max({NOW}, min({NOW} + (input.value ->> 5), input.value ->> 6))
                     {HELD}
                     RETURNING works.id, works.claim, works.lease_until"
                ))
                .bind::<Text, _>(&input)
                .load(connection)
            })
            .await?;
        let until: HashMap<(i64, i64), i64> = (extended.into_iter())
            .map(|row| ((row.id, row.claim), unix_seconds(row.lease_until)))
            .collect();
        let until_of = |one: &Extension| until.get(&(one.held.id.0, one.held.claim)).copied();
        Ok(extensions.iter().map(until_of).collect())
    }

    async fn run_states(&self, held: &[HeldRun]) -> Result<Vec<RunState>> {
        let input = json_rows(
            held.iter()
                .map(|one| json!([one.id, one.kind, one.run.generation, one.run.attempt])),
        );
        self.read(move |connection| {
            // Each attempt that does not finish its work ends with one event.
            let rows: Vec<StateRow> = sql_query(format!(
                "SELECT works.id, input.value ->> 2 AS asked_generation, input.value ->> 3 AS asked_attempt, works.generation, works.attempt, works.status, claim, failures,
                     deleted_on IS NOT NULL AS is_deleted, EXISTS (
                         SELECT 1 FROM events WHERE work_id = works.id AND variable = 'work/redriven'
                             AND events.generation = (input.value ->> 2) + 1
                     ) AS was_redriven, EXISTS (
                        SELECT 1 FROM (
                            SELECT value, row_number() OVER (ORDER BY events.id) AS number FROM events
                            WHERE work_id = works.id AND events.generation = (input.value ->> 2)
                                AND variable IN ('compute/error', 'compute/snoozed')
                        ) AS ended WHERE ended.number = (input.value ->> 3) AND ended.value = '{LEASE_LOST}'
                    ) AS was_lost
                 FROM json_each(?) AS input
                 CROSS JOIN works ON works.id = input.value ->> 0 AND works.kind = input.value ->> 1"
            ))
            .bind::<Text, _>(&input)
            .load(connection)?;
            let of_row = |row: StateRow| {
                Ok(RunState {
                    id: WorkId(row.id),
                    asked: Run {
                        generation: row.asked_generation,
                        attempt: row.asked_attempt,
                    },
                    run: Run {
                        generation: row.generation,
                        attempt: row.attempt,
                    },
                    status: parsed("status", row.status.parse())?,
                    claim: row.claim,
                    failures: row.failures,
                    is_deleted: row.is_deleted,
                    was_redriven: row.was_redriven,
                    was_lost: row.was_lost,
                })
            };
            rows.into_iter().map(of_row).collect()
        })
        .await
    }

    async fn tell_progress(&self, told: &[(HeldRun, Progress)]) -> Result<()> {
        if told.is_empty() {
            return Ok(());
        }
        let told = told.to_vec();
        self.write(move |connection| tell_progress(connection, &told)).await
    }

    async fn workers_heard(&self, workers: &[(WorkerName, Vec<KindName>)]) -> Result<()> {
        let kinds = |kinds: &[KindName]| serde_json::to_string(kinds).unwrap_or_default();
        let input = json_rows(workers.iter().map(|(name, of_worker)| json!([name, kinds(of_worker)])));
        self.write(move |connection| {
            sql_query(format!(
                "DELETE FROM workers WHERE seen_on < {NOW} - {FORGOTTEN_AFTER} * 1000"
            ))
            .execute(connection)?;
            sql_query(format!(
                "INSERT INTO workers (name, kinds) SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE true
                 ON CONFLICT (name) DO UPDATE SET kinds = excluded.kinds, seen_on = {NOW}"
            ))
            .bind::<Text, _>(&input)
            .execute(connection)
            .map(drop)
        })
        .await
    }

    async fn workers(&self, limit: u16) -> Result<Vec<WorkerRow>> {
        self.read(move |connection| {
            let rows: Vec<HeardRow> = sql_query(format!(
                "SELECT name, kinds, since, seen_on, seen_on > {NOW}
                     - 1000 * iif(name GLOB 'consumer:*', {CONSUMER_THERE_WITHIN}, {THERE_WITHIN}) AS is_there
                 FROM workers ORDER BY seen_on DESC, name LIMIT ?"
            ))
            .bind::<Integer, _>(i32::from(limit))
            .load(connection)?;
            let of_row = |row: HeardRow| {
                Ok(WorkerRow {
                    name: WorkerName::stored(&row.name),
                    kinds: parsed("kinds", serde_json::from_str(&row.kinds))?,
                    since: unix_seconds(row.since),
                    seen_on: unix_seconds(row.seen_on),
                    is_there: row.is_there,
                })
            };
            rows.into_iter().map(of_row).collect()
        })
        .await
    }

    async fn running_works(&self, limit: u16) -> Result<Vec<RunningWork>> {
        self.read(move |connection| {
            let select = sql_query(format!(
                "SELECT {WORK}, worker, due_set_on AS heard_on, lease_until AS until, coalesce((
                     SELECT max(events.created_on) FROM events WHERE work_id = works.id AND variable = 'compute/start'
                 ), updated_on) AS since
                 FROM works WHERE status = 'running' AND deleted_on IS NULL ORDER BY since, id LIMIT ?"
            ))
            .bind::<Integer, _>(i32::from(limit));
            let rows = load_within(connection, select, PAGE_BYTES, |row: &RunningRow| row.work.bytes())?;
            let of_row = |row: RunningRow| {
                Ok(RunningWork {
                    worker: row.worker.map(|name| WorkerName::stored(&name)),
                    work: row.work.into_work()?,
                    since: unix_seconds(row.since),
                    heard_on: unix_seconds(row.heard_on),
                    lease_until: unix_seconds(row.until),
                })
            };
            rows.into_iter().map(of_row).collect()
        })
        .await
    }
}

fn claim(connection: &mut SqliteConnection, kinds: &[KindName], places: &[Place]) -> QueryResult<Vec<ClaimedRun>> {
    let kinds = json_rows(kinds.iter().map(|kind| json!(kind)));
    let places = json_rows(
        places
            .iter()
            .map(|place| json!([place.worker.as_str(), millis(place.lease), place.claim])),
    );
    let rows: Vec<ClaimedRow> = sql_query(format!(
        "UPDATE works SET status = 'running', worker = place.value ->> 0, lease_until = {NOW} + (place.value ->> 1),
             claim = place.value ->> 2, due_at = NULL, due_set_on = {NOW}, sent_at = NULL, progress = NULL, note = NULL,
             version = version + 1, updated_on = {NOW}
         FROM (
             SELECT id, row_number() OVER (ORDER BY due_at, id) - 1 AS number,
                 sum(octet_length(args)) OVER (ORDER BY due_at, id) - octet_length(args) AS before
             FROM (
                 SELECT id, due_at, args FROM works JOIN kinds ON kinds.name = works.kind AND is_open
                 WHERE status = 'pending' AND works.kind IN (SELECT value FROM json_each(?1)) AND due_at <= {NOW}
                 ORDER BY due_at LIMIT json_array_length(?2)
             )
         ) AS due JOIN json_each(?2) AS place ON place.key = due.number
         WHERE works.id = due.id AND due.before < {CLAIMED_BYTES}
         RETURNING works.id, kind, message_id, work_code, args, generation, attempt, failures, lost_leases, claim,
             due_set_on AS began_on,
             lease_until"
    ))
    .bind::<Text, _>(kinds)
    .bind::<Text, _>(places)
    .load(connection)?;
    let started = |row: &ClaimedRow| json!([row.id, row.generation, Variable::ComputeStart.as_str(), ""]);
    insert_events(connection, json_rows(rows.iter().map(started)))?;
    deltas::record(connection, rows.iter().map(|row| Moved::from(Status::Pending, row.id)))?;
    rows.into_iter().map(ClaimedRow::into_run).collect()
}

fn tell_progress(connection: &mut SqliteConnection, told: &[(HeldRun, Progress)]) -> QueryResult<()> {
    let input = json_rows(
        told.iter()
            .map(|(held, progress)| held_row(held, progress.percent, progress.note.as_str())),
    );
    let changed: Vec<ExtendedRow> = sql_query(format!(
        "UPDATE works SET progress = input.value ->> 5, note = input.value ->> 6, version = version + 1,
             updated_on = {NOW}
         {HELD}
         RETURNING works.id, works.claim, works.lease_until"
    ))
    .bind::<Text, _>(input)
    .load(connection)?;
    let is_changed = |held: &HeldRun| changed.iter().any(|row| (row.id, row.claim) == (held.id.0, held.claim));
    let events = told
        .iter()
        .filter(|(held, _)| is_changed(held))
        .map(|(held, progress)| {
            let variable = Variable::ComputeProgress.as_str();
            json!([held.id, held.run.generation, variable, progress.event()])
        });
    insert_events(connection, json_rows(events))
}
