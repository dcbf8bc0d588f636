//! The statements that end attempts: with an outcome, or because the worker is lost.

use std::collections::HashSet;

use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel::{QueryResult, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::prepared::{OnConflict, Prepared, skipping_at_need};
use super::rows::{Freed, MessageIdRow, column, microseconds, without_nul};
use crate::domain::Status;
use crate::store::{Completion, Guard, LEASE_LOST};

type MessageIds = HashSet<String>;

fn message_ids(found: Vec<MessageIdRow>) -> MessageIds {
    found.into_iter().map(|found| found.message_id).collect()
}

/// Events follow from the rows that changed: a start if the attempt was not announced as running, then its end. So do
/// the counters, with the bucket of the latency as in `views::bucket_of`. Only a first generation has a latency,
/// because it is not known when a later one was asked for.
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

/// Records outcomes that are sorted by `message_id`; returns those that took effect, and those of the others that have
/// a row.
pub(super) fn complete(
    connection: &mut PgConnection,
    completions: &[Completion],
) -> Result<(MessageIds, MessageIds), Failure> {
    let usual = |one: &Completion| one.guard == Guard::NoRow && one.outcome.result().is_some();
    let applied = message_ids(if completions.iter().all(usual) {
        skipping_at_need(connection, |connection, on_conflict| {
            complete_done(connection, completions, on_conflict)
        })?
    } else {
        let reason = |one: &Completion| one.outcome.reason().map(without_nul);
        sql_query(COMPLETE)
            .bind::<Array<Text>, _>(column(completions, |one| one.message_id.as_str()))
            .bind::<Array<Text>, _>(column(completions, |one| one.work_code.as_str()))
            .bind::<Array<Text>, _>(column(completions, |one| one.work_code.origin().as_str()))
            .bind::<Array<Integer>, _>(column(completions, |one| one.add_up_to.get()))
            .bind::<Array<Nullable<Text>>, _>(column(completions, |one| one.guard.status().map(Status::as_str)))
            .bind::<Array<Integer>, _>(column(completions, |one| one.guard.run().generation))
            .bind::<Array<Integer>, _>(column(completions, |one| one.guard.run().attempt))
            .bind::<Array<Text>, _>(column(completions, |one| one.outcome.status().as_str()))
            .bind::<Array<Nullable<BigInt>>, _>(column(completions, |one| one.outcome.result()))
            .bind::<Array<Nullable<BigInt>>, _>(column(completions, |one| one.outcome.due_in().map(microseconds)))
            .bind::<Array<Nullable<Text>>, _>(column(completions, reason))
            .load(connection)?
    });
    let skipped: Vec<&str> = (completions.iter())
        .filter(|one| one.guard == Guard::NoRow && !applied.contains(one.message_id.as_str()))
        .map(|one| one.message_id.as_str())
        .collect();
    if skipped.is_empty() {
        return Ok((applied, MessageIds::new()));
    }
    let present = sql_query("SELECT message_id FROM works WHERE message_id = ANY($1)")
        .bind::<Array<Text>, _>(skipped)
        .load(connection)?;
    Ok((applied, message_ids(present)))
}

/// Records the usual batch, demands without a row and all computed, in a third less of the server's time.
fn complete_done(
    connection: &mut PgConnection,
    completions: &[Completion],
    on_conflict: OnConflict,
) -> QueryResult<Vec<MessageIdRow>> {
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
    .bind::<Array<Text>, _>(column(completions, |one| one.message_id.as_str()))
    .bind::<Array<Text>, _>(column(completions, |one| one.work_code.as_str()))
    .bind::<Array<Text>, _>(column(completions, |one| one.work_code.origin().as_str()))
    .bind::<Array<Integer>, _>(column(completions, |one| one.add_up_to.get()))
    .bind::<Array<Nullable<BigInt>>, _>(column(completions, |one| one.outcome.result()));
    Prepared(statement).load(connection)
}

/// Returns those that were to be running and are, at the run that they were recorded for.
pub(super) fn running(connection: &mut PgConnection, completions: &[Completion]) -> Result<MessageIds, Failure> {
    let running = sql_query(
        "SELECT message_id
        FROM unnest($1, $2, $3, $4, $5::work_status[]) AS input (message_id, generation, attempt, add_up_to, status)
        JOIN works USING (message_id, generation, attempt, add_up_to, status)
        WHERE status = 'running' AND deleted_on IS NULL",
    )
    .bind::<Array<Text>, _>(column(completions, |one| one.message_id.as_str()))
    .bind::<Array<Integer>, _>(column(completions, |one| one.guard.run().generation))
    .bind::<Array<Integer>, _>(column(completions, |one| one.guard.run().attempt))
    .bind::<Array<Integer>, _>(column(completions, |one| one.add_up_to.get()))
    .bind::<Array<Text>, _>(column(completions, |one| one.outcome.status().as_str()))
    .load(connection)?;
    Ok(message_ids(running))
}

/// Makes running rows for which the condition holds pending again, or fails them.
pub(super) fn rescue(
    connection: &mut PgConnection,
    lost: &str,
    max_lost: i32,
    limit: i64,
) -> Result<Vec<Freed>, Failure> {
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
