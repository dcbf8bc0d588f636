//! The statement that completes a batch, and the arrays it is given.

use std::collections::HashSet;

use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel::{QueryResult, RunQueryDsl as _, sql_query};

use super::completion::Found;
use super::dispatch::microseconds;
use super::failure::Failure;
use super::prepared::{OnConflict, Prepared, skipping_at_need};
use crate::domain::{Run, Status};
use crate::store::Completion;

/// Completions as columns, in the order of `message_id`.
#[derive(Default)]
pub(super) struct CompleteRows {
    message_ids: Vec<String>,
    codes: Vec<String>,
    origins: Vec<&'static str>,
    bounds: Vec<i32>,
    from: Vec<Option<&'static str>>,
    generations: Vec<i32>,
    attempts: Vec<i32>,
    to: Vec<&'static str>,
    results: Vec<Option<i64>>,
    due: Vec<Option<i64>>,
    reasons: Vec<Option<String>>,
}

impl CompleteRows {
    pub(super) fn new(completions: &[Completion]) -> Self {
        let mut sorted: Vec<&Completion> = completions.iter().collect();
        sorted.sort_unstable_by(|one, other| one.message_id.cmp(&other.message_id));
        let mut rows = Self::default();
        for completion in sorted {
            rows.push(completion);
        }
        rows
    }

    fn push(&mut self, completion: &Completion) {
        let Completion { guard, outcome, .. } = completion;
        let Run { generation, attempt } = guard.run();
        self.message_ids.push(completion.message_id.as_str().to_owned());
        self.codes.push(completion.work_code.as_str().to_owned());
        self.origins.push(completion.work_code.origin().as_str());
        self.bounds.push(completion.add_up_to.get());
        self.from.push(guard.status().map(Status::as_str));
        self.generations.push(generation);
        self.attempts.push(attempt);
        self.to.push(outcome.status().as_str());
        self.results.push(outcome.result());
        self.due.push(outcome.due_in().map(microseconds));
        // The one character that PostgreSQL keeps in no text; a reason may come from anywhere.
        self.reasons
            .push(outcome.reason().map(|reason| reason.replace('\0', "\u{fffd}")));
    }
}

/// Events are derived from what really changed: the start where the attempt had not been started, then its end. So is
/// what is said for the counters, with the bucket of the latency as `views::bucket_of` has it: of the first generation
/// only, since when a later one was asked for is not known.
const COMPLETE: &str = "
    WITH input AS MATERIALIZED (
        SELECT * FROM unnest($1, $2, $3::work_origin[], $4, $5::work_status[], $6, $7, $8::work_status[], $9, $10, $11)
            AS input (message_id, work_code, origin, add_up_to, was, generation, attempt, status, result, due, reason)
    ), inserted AS (
        INSERT INTO works
            (work_code, origin, message_id, add_up_to, status, result, attempt, failures, due_at, due_set_on)
        SELECT work_code, origin, message_id, add_up_to, status, result,
            CASE status WHEN 'pending' THEN 2 ELSE 1 END, CASE WHEN reason IS NULL THEN 0 ELSE 1 END,
            now() + due * interval '1 microsecond', CASE WHEN due IS NULL THEN NULL ELSE now() END
        FROM input WHERE was IS NULL
        ON CONFLICT DO NOTHING
        RETURNING id, message_id, origin, generation, status, result
    ), held AS MATERIALIZED (
        SELECT works.id, input.was, input.status, input.result, input.due, input.reason
        FROM input JOIN works USING (message_id, generation, attempt, add_up_to)
        WHERE input.was IS NOT NULL AND works.status = input.was AND works.deleted_on IS NULL
        ORDER BY works.message_id
        FOR NO KEY UPDATE OF works
    ), updated AS (
        UPDATE works SET
            status = held.status, result = held.result,
            attempt = attempt + CASE held.status WHEN 'pending' THEN 1 ELSE 0 END,
            failures = failures + CASE WHEN held.reason IS NULL THEN 0 ELSE 1 END,
            due_at = now() + held.due * interval '1 microsecond',
            due_set_on = CASE WHEN held.due IS NULL THEN NULL ELSE now() END, sent_at = NULL,
            version = version + 1, updated_on = now()
        FROM held WHERE works.id = held.id
        RETURNING works.id, works.message_id, works.origin, works.generation, works.attempt, works.status,
            works.result, held.was, held.reason, CASE WHEN held.status = 'done' AND works.generation = 1 THEN
                least(255, floor(8 / ln(2.0::float8) * ln(greatest(1,
                    1000 * date_part('epoch', now() - greatest(works.created_on, works.run_at))))))::smallint
            END AS latency
    ), changed AS (
        SELECT inserted.id, message_id, origin, generation, 1 AS attempt, inserted.status, inserted.result,
            NULL::work_status AS was, failed.reason, NULL::smallint AS latency
        FROM inserted
        LEFT JOIN (SELECT message_id, reason FROM input WHERE was IS NULL AND reason IS NOT NULL) AS failed
            USING (message_id)
        UNION ALL
        SELECT id, message_id, origin, generation, attempt, status, result, was, reason, latency FROM updated
    ), logged AS (
        INSERT INTO events (work_id, generation, variable, value, status)
        SELECT id, generation,
            unnest(CASE WHEN was = 'running' THEN '{}' ELSE '{compute/start}' END::event_variable[]
                || CASE status WHEN 'running' THEN '{}' WHEN 'done' THEN '{compute/stop,compute/result}'
                    ELSE '{compute/error}' END::event_variable[]),
            unnest(CASE WHEN was = 'running' THEN '{}' ELSE ARRAY[''] END
                || CASE status WHEN 'running' THEN '{}' WHEN 'done' THEN ARRAY['', result::text]
                    ELSE ARRAY[reason] END),
            status
        FROM changed
    ), counted AS (
        INSERT INTO stat_deltas (origin, was, status, latency, works)
        SELECT origin, was, status, latency, count(*) FROM changed WHERE was IS DISTINCT FROM status
        GROUP BY origin, was, status, latency
    ), given_up AS (
        INSERT INTO dead_letters (work_id, generation, message_id, reason, attempts)
        SELECT id, generation, message_id, reason, attempt FROM changed WHERE status = 'failed'
        ON CONFLICT DO NOTHING
    )
    SELECT message_id FROM changed";

type MessageIds = HashSet<String>;

/// Completes them; which took effect, and which of the others have a row.
pub(super) fn complete(
    connection: &mut PgConnection,
    rows: &CompleteRows,
) -> Result<(MessageIds, MessageIds), Failure> {
    let usual = rows.from.iter().all(Option::is_none) && rows.results.iter().all(Option::is_some);
    let applied: Vec<Found> = if usual {
        skipping_at_need(connection, |connection, on_conflict| {
            complete_done(connection, rows, on_conflict)
        })?
    } else {
        sql_query(COMPLETE)
            .bind::<Array<Text>, _>(&rows.message_ids)
            .bind::<Array<Text>, _>(&rows.codes)
            .bind::<Array<Text>, _>(&rows.origins)
            .bind::<Array<Integer>, _>(&rows.bounds)
            .bind::<Array<Nullable<Text>>, _>(&rows.from)
            .bind::<Array<Integer>, _>(&rows.generations)
            .bind::<Array<Integer>, _>(&rows.attempts)
            .bind::<Array<Text>, _>(&rows.to)
            .bind::<Array<Nullable<BigInt>>, _>(&rows.results)
            .bind::<Array<Nullable<BigInt>>, _>(&rows.due)
            .bind::<Array<Nullable<Text>>, _>(&rows.reasons)
            .load(connection)?
    };
    let applied: MessageIds = applied.into_iter().map(|found| found.message_id).collect();
    let skipped: Vec<&str> = (rows.message_ids.iter().zip(&rows.from))
        .filter(|(message_id, from)| from.is_none() && !applied.contains(message_id.as_str()))
        .map(|(message_id, _)| message_id.as_str())
        .collect();
    if skipped.is_empty() {
        return Ok((applied, MessageIds::new()));
    }
    let present: Vec<Found> = sql_query("SELECT message_id FROM works WHERE message_id = ANY($1)")
        .bind::<Array<Text>, _>(skipped)
        .load(connection)?;
    Ok((applied, present.into_iter().map(|found| found.message_id).collect()))
}

/// The usual batch, demands without a row and all computed: the same in a third less of the server's time.
fn complete_done(
    connection: &mut PgConnection,
    rows: &CompleteRows,
    on_conflict: OnConflict,
) -> QueryResult<Vec<Found>> {
    let statement = sql_query(format!(
        "WITH inserted AS (
            INSERT INTO works (work_code, origin, message_id, add_up_to, status, result)
            SELECT work_code, origin, message_id, add_up_to, 'done', result
            FROM unnest($1, $2, $3::work_origin[], $4, $5) AS input (message_id, work_code, origin, add_up_to, result)
            {}
            RETURNING id, message_id, origin, generation, result
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, unnest('{{compute/start,compute/stop,compute/result}}'::event_variable[]),
                unnest(ARRAY['', '', result::text]), 'done'
            FROM inserted
        ), counted AS (
            INSERT INTO stat_deltas (origin, status, works)
            SELECT origin, 'done', count(*) FROM inserted GROUP BY origin
        )
        SELECT message_id FROM inserted",
        on_conflict.clause()
    ))
    .bind::<Array<Text>, _>(&rows.message_ids)
    .bind::<Array<Text>, _>(&rows.codes)
    .bind::<Array<Text>, _>(&rows.origins)
    .bind::<Array<Integer>, _>(&rows.bounds)
    .bind::<Array<Nullable<BigInt>>, _>(&rows.results);
    Prepared(statement).load(connection)
}

/// Those that were to be running and are, at the generation and attempt that they are recorded for.
pub(super) fn running(connection: &mut PgConnection, rows: &CompleteRows) -> Result<MessageIds, Failure> {
    let running: Vec<Found> = sql_query(
        "SELECT message_id
        FROM unnest($1, $2, $3, $4, $5::work_status[]) AS input (message_id, generation, attempt, add_up_to, status)
        JOIN works USING (message_id, generation, attempt, add_up_to, status)
        WHERE status = 'running' AND deleted_on IS NULL",
    )
    .bind::<Array<Text>, _>(&rows.message_ids)
    .bind::<Array<Integer>, _>(&rows.generations)
    .bind::<Array<Integer>, _>(&rows.attempts)
    .bind::<Array<Integer>, _>(&rows.bounds)
    .bind::<Array<Text>, _>(&rows.to)
    .load(connection)?;
    Ok(running.into_iter().map(|found| found.message_id).collect())
}
