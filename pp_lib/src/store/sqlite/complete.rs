//! The statements that end attempts: with an outcome, or without one.

use std::collections::{HashMap, HashSet};

use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::deltas::{self, Moved};
use super::rows::{NOW, insert_dead_letters, insert_events, json_rows, millis};
use crate::domain::{Json, KindName, Run, Status};
use crate::store::views::bucket_of;
use crate::store::{Completed, Completion, Guard, LEASE_LOST, Outcome, log_given_up};

/// A row that a completion inserted or changed.
#[derive(QueryableByName)]
struct Changed {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Text)]
    args: String,
    /// Since it was asked for; none where that is not known.
    #[diesel(sql_type = Nullable<BigInt>)]
    waited_ms: Option<i64>,
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Text)]
    message_id: String,
}

/// A row whose attempt ended without an outcome.
#[derive(QueryableByName)]
pub(super) struct Freed {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Integer)]
    pub(super) generation: i32,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Text)]
    work_code: String,
}

impl Freed {
    pub(super) fn is_given_up(&self) -> bool {
        self.status == "failed"
    }

    /// Logs the works that were given up; returns the number of rows.
    pub(super) fn log(freed: &[Self]) -> u64 {
        for row in freed.iter().filter(|row| row.is_given_up()) {
            log_given_up(&row.work_code, LEASE_LOST);
        }
        freed.len() as u64
    }
}

/// Records outcomes; returns what became of each, in their order, and the latencies that are known in milliseconds.
pub(super) fn complete(
    connection: &mut SqliteConnection,
    kind: &KindName,
    completions: &[Completion],
) -> QueryResult<(Vec<Completed>, Vec<i64>)> {
    let (new, existing): (Vec<&Completion>, Vec<&Completion>) = completions
        .iter()
        .partition(|completion| completion.guard == Guard::NoRow);
    let mut changed = if new.is_empty() {
        Vec::new()
    } else {
        insert(connection, kind, &new)?
    };
    if !existing.is_empty() {
        changed.extend(update(connection, kind, &existing)?);
    }
    let rows: HashMap<&str, &Changed> = changed.iter().map(|row| (row.message_id.as_str(), row)).collect();
    let row_of = |completion: &Completion| rows.get(completion.message_id.as_str()).copied();
    let applied: Vec<(i64, &Completion)> = completions
        .iter()
        .filter_map(|completion| Some((row_of(completion)?.id, completion)))
        .collect();
    let moved = completions
        .iter()
        .filter_map(|completion| Some(moved(row_of(completion)?, completion)));
    deltas::record(connection, moved)?;
    let latencies = completions
        .iter()
        .filter_map(|completion| latency(row_of(completion)?, completion))
        .collect();
    record_events(connection, &applied)?;
    record_dead_letters(connection, &applied)?;

    let skipped = new
        .iter()
        .map(|completion| completion.message_id.as_str())
        .filter(|id| !rows.contains_key(id));
    let known = known(connection, kind, skipped.collect())?;
    let doubtful = |one: &&Completion| one.outcome.claim().is_some() && row_of(one).is_none();
    let claimed = claimed(connection, kind, completions.iter().filter(doubtful).collect())?;
    let completed = completions
        .iter()
        .map(|completion| match row_of(completion) {
            Some(row) if completion.outcome.claim().is_some() => Completed::Started(Json::accepted(row.args.as_str())),
            Some(_) => Completed::Applied,
            None if claimed.contains_key(completion.message_id.as_str()) => {
                Completed::Started(claimed[completion.message_id.as_str()].clone())
            }
            None if completion.guard == Guard::NoRow && !known.contains(completion.message_id.as_str()) => {
                Completed::CodeTaken
            }
            None => Completed::Superseded,
        })
        .collect();
    Ok((completed, latencies))
}

fn moved(row: &Changed, completion: &Completion) -> Moved {
    Moved {
        id: row.id,
        was: completion.guard.status(),
        bucket: latency(row, completion).map(bucket_of),
    }
}

/// Only a first generation has a latency: it is not known when a later one was asked for.
fn latency(row: &Changed, completion: &Completion) -> Option<i64> {
    let counts = completion.guard.run().generation == 1 && completion.outcome.status() == Status::Done;
    row.waited_ms.filter(|_| counts)
}

fn insert(
    connection: &mut SqliteConnection,
    kind: &KindName,
    completions: &[&Completion],
) -> QueryResult<Vec<Changed>> {
    let input = json_rows(completions.iter().map(|completion| {
        let (outcome, code) = (&completion.outcome, &completion.work_code);
        let (id, origin) = (completion.message_id.as_str(), code.origin().as_str());
        let (status, due_in) = (outcome.status().as_str(), outcome.due_in().map(millis));
        let attempt = next_attempt(completion);
        json!([
            code,
            origin,
            id,
            completion.args.as_ref().map(Json::as_str),
            status,
            outcome.result().map(Json::as_str),
            attempt,
            due_in,
            failures(completion),
            outcome.reason(),
            completion.claim(),
            outcome.worker()
        ])
    }));
    sql_query(format!(
        "INSERT INTO works
             (kind, work_code, origin, message_id, args, status, result, attempt, due_at, lease_until, due_set_on,
              failures, error, claim, worker, notify)
         SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                iif(value ->> 4 = 'pending', {NOW} + (value ->> 7), NULL),
                iif(value ->> 4 = 'running', {NOW} + (value ->> 7), NULL),
                iif(value ->> 7 IS NULL, NULL, {NOW}), value ->> 8, value ->> 9, value ->> 10,
                value ->> 11, (SELECT '' FROM kinds WHERE name = ?1 AND notify IS NOT NULL)
         FROM json_each(?2) WHERE true
         ON CONFLICT DO NOTHING RETURNING id, message_id, args, NULL AS waited_ms"
    ))
    .bind::<Text, _>(kind.as_str())
    .bind::<Text, _>(input)
    .load(connection)
}

fn update(
    connection: &mut SqliteConnection,
    kind: &KindName,
    completions: &[&Completion],
) -> QueryResult<Vec<Changed>> {
    let input = json_rows(completions.iter().map(|completion| {
        let (outcome, id) = (&completion.outcome, completion.message_id.as_str());
        let Run { generation, attempt } = completion.guard.run();
        let (status, due_in) = (outcome.status().as_str(), outcome.due_in().map(millis));
        let from = completion.guard.status().map(|status| status.as_str());
        let next = next_attempt(completion);
        json!([
            id,
            generation,
            attempt,
            from,
            compared_args(completion),
            status,
            outcome.result().map(Json::as_str),
            next,
            due_in,
            failures(completion),
            outcome.reason(),
            completion.claim(),
            outcome.worker()
        ])
    }));
    sql_query(format!(
        "UPDATE works SET status = input.value ->> 5, result = input.value ->> 6, attempt = input.value ->> 7,
                due_at = iif(input.value ->> 5 = 'pending', {NOW} + (input.value ->> 8), NULL),
                lease_until = iif(input.value ->> 5 = 'running', {NOW} + (input.value ->> 8), NULL),
                due_set_on = iif(input.value ->> 8 IS NULL, NULL, {NOW}),
                failures = failures + (input.value ->> 9),
                error = iif(input.value ->> 5 = 'running', error, input.value ->> 10), progress = NULL, note = NULL,
                claim = input.value ->> 11, worker = input.value ->> 12,
                sent_at = NULL, version = version + 1, updated_on = {NOW}
         FROM json_each(?2) AS input
         WHERE works.message_id = input.value ->> 0 AND works.kind = ?1 AND works.generation = input.value ->> 1
           AND works.attempt = input.value ->> 2 AND works.status = input.value ->> 3
           AND (input.value ->> 4 IS NULL OR works.args = input.value ->> 4) AND works.deleted_on IS NULL
           AND (input.value ->> 5 = 'running' OR input.value ->> 11 IS NULL OR works.claim = input.value ->> 11)
         RETURNING works.id, works.message_id, works.args,
             works.updated_on - max(works.created_on, coalesce(works.run_at, 0)) AS waited_ms"
    ))
    .bind::<Text, _>(kind.as_str())
    .bind::<Text, _>(input)
    .load(connection)
}

/// The arguments that the row must have.
fn compared_args(completion: &Completion) -> Option<&str> {
    let compared = matches!(completion.guard, Guard::Pending(_));
    completion.args.as_ref().filter(|_| compared).map(Json::as_str)
}

fn next_attempt(completion: &Completion) -> i32 {
    let attempt = completion.guard.run().attempt;
    if completion.outcome.status() == Status::Pending {
        attempt + 1
    } else {
        attempt
    }
}

/// Failures that an outcome adds.
fn failures(completion: &Completion) -> i32 {
    i32::from(completion.outcome.is_failure())
}

fn record_events(connection: &mut SqliteConnection, applied: &[(i64, &Completion)]) -> QueryResult<()> {
    let input = json_rows(applied.iter().flat_map(|(id, completion)| {
        let generation = completion.guard.run().generation;
        completion
            .events()
            .map(move |(variable, value)| json!([id, generation, variable.as_str(), value]))
    }));
    insert_events(connection, input)
}

fn record_dead_letters(connection: &mut SqliteConnection, applied: &[(i64, &Completion)]) -> QueryResult<()> {
    let failed = applied.iter().filter_map(|(id, completion)| match &completion.outcome {
        Outcome::Failed { reason } => Some(json!([id, reason])),
        _ => None,
    });
    insert_dead_letters(connection, json_rows(failed))
}

fn known(connection: &mut SqliteConnection, kind: &KindName, message_ids: Vec<&str>) -> QueryResult<HashSet<String>> {
    if message_ids.is_empty() {
        return Ok(HashSet::new());
    }
    let known: Vec<Known> =
        sql_query("SELECT message_id FROM works WHERE kind = ?1 AND message_id IN (SELECT value FROM json_each(?2))")
            .bind::<Text, _>(kind.as_str())
            .bind::<Text, _>(json_rows(message_ids.into_iter().map(|id| json!(id))))
            .load(connection)?;
    Ok(known.into_iter().map(|row| row.message_id).collect())
}

/// The arguments of rows that are running by the very claim that they were recorded with.
fn claimed(
    connection: &mut SqliteConnection,
    kind: &KindName,
    completions: Vec<&Completion>,
) -> QueryResult<HashMap<String, Json>> {
    if completions.is_empty() {
        return Ok(HashMap::new());
    }
    let input = json_rows(completions.into_iter().map(|one| {
        let Run { generation, attempt } = one.guard.run();
        json!([one.message_id.as_str(), generation, attempt, one.outcome.claim()])
    }));
    let rows: Vec<Changed> = sql_query(
        "SELECT works.id, works.message_id, works.args, NULL AS waited_ms FROM json_each(?2) AS input
         CROSS JOIN works ON works.message_id = input.value ->> 0 AND works.kind = ?1
         WHERE works.generation = input.value ->> 1 AND works.attempt = input.value ->> 2
           AND works.claim = input.value ->> 3 AND works.status = 'running' AND works.deleted_on IS NULL",
    )
    .bind::<Text, _>(kind.as_str())
    .bind::<Text, _>(input)
    .load(connection)?;
    Ok(rows
        .into_iter()
        .map(|row| (row.message_id, Json::accepted(row.args)))
        .collect())
}

/// Makes running rows for which the condition holds pending again, or fails them.
pub(super) fn rescue(
    connection: &mut SqliteConnection,
    lost: &str,
    max_lost: i32,
    limit: i64,
) -> QueryResult<Vec<Freed>> {
    let rescued: Vec<Freed> = sql_query(format!(
        "UPDATE works SET lost_leases = lost_leases + 1, version = version + 1, updated_on = {NOW}, sent_at = NULL,
                status = iif(lost_leases < ?1, 'pending', 'failed'),
                attempt = iif(lost_leases < ?1, attempt + 1, attempt),
                due_at = iif(lost_leases < ?1, {NOW}, NULL), lease_until = NULL, due_set_on = NULL, claim = NULL,
                worker = NULL, error = '{LEASE_LOST}'
         WHERE id IN (SELECT id FROM works WHERE status = 'running' AND {lost} LIMIT ?2)
         RETURNING id, generation, status, work_code"
    ))
    .bind::<Integer, _>(max_lost)
    .bind::<BigInt, _>(limit)
    .load(connection)?;
    tell_of_end(connection, rescued.iter().collect(), Status::Running, LEASE_LOST)?;
    Ok(rescued)
}

/// Records events, counters and letters of attempts that ended without an outcome. The works were in this status.
pub(super) fn tell_of_end(
    connection: &mut SqliteConnection,
    freed: Vec<&Freed>,
    was: Status,
    why: &str,
) -> QueryResult<()> {
    let ids = json_rows(freed.iter().map(|row| json!(row.id)));
    sql_query(
        "INSERT INTO events (work_id, generation, variable, value, status)
         SELECT works.id, generation, 'compute/error', ?1, status
         FROM json_each(?2) AS input JOIN works ON works.id = input.value ORDER BY input.key",
    )
    .bind::<Text, _>(why)
    .bind::<Text, _>(ids)
    .execute(connection)?;
    deltas::record(connection, freed.iter().map(|row| Moved::from(was, row.id)))?;
    let failed = freed.iter().filter(|row| row.is_given_up());
    insert_dead_letters(connection, json_rows(failed.map(|row| json!([row.id, why]))))
}
