//! The statements that end attempts: with an outcome, or because the worker is lost.

use std::collections::{HashMap, HashSet};

use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, SmallInt, Text};
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::prepared::{OnConflict, Prepared, skipping_at_need};
use super::rows::{Freed, MessageIdRow, column, microseconds, without_nul};
use crate::domain::{Json, KindName, Status};
use crate::store::{Completion, Guard, LEASE_LOST};

type MessageIds = HashSet<String>;

/// The arguments of the rows that were changed, of those that are running now.
pub(super) type Applied = HashMap<String, Option<Json>>;

/// A row that an outcome changed.
#[derive(QueryableByName)]
struct Changed {
    #[diesel(sql_type = Text)]
    message_id: String,
    /// Of a row that is running now.
    #[diesel(sql_type = Nullable<Text>)]
    args: Option<String>,
    /// The bucket of its latency, where it became done and that is known.
    #[diesel(sql_type = Nullable<SmallInt>)]
    latency: Option<i16>,
}

/// What outcomes changed.
pub(super) struct Recorded {
    pub(super) applied: Applied,
    /// Those of the others that have a row.
    pub(super) present: MessageIds,
    /// The buckets of the latencies that are known.
    pub(super) latencies: Vec<u8>,
}

fn applied_of(changed: Vec<Changed>) -> Applied {
    let entry = |row: Changed| (row.message_id, row.args.map(Json::accepted));
    changed.into_iter().map(entry).collect()
}

/// Events follow from the rows that changed: a start if the attempt was not announced as running, then its end. So do
/// the counters, with the bucket of the latency as in `views::bucket_of`. Only a first generation has a latency,
/// because it is not known when a later one was asked for.
const COMPLETE: &str = "
    WITH input AS MATERIALIZED (
        SELECT *, now() + due * interval '1 microsecond' AS until, CASE WHEN due IS NULL THEN NULL ELSE now() END AS since
        FROM unnest($2, $3, $4::work_origin[], $5, $6::work_status[], $7, $8, $9::work_status[], $10, $11, $12, $13, $14)
            AS input (message_id, work_code, origin, args, was, generation, attempt, status, result, due, claim, reason, worker)
    ), inserted AS (
        INSERT INTO works (kind, work_code, origin, message_id, args, status, result, attempt, failures, error,
            due_at, lease_until, due_set_on, claim, worker, notify)
        SELECT $1, work_code, origin, message_id, args::json, status, result::json,
            CASE status WHEN 'pending' THEN 2 ELSE 1 END,
            CASE WHEN reason IS NULL OR status = 'cancelled' THEN 0 ELSE 1 END, reason,
            CASE status WHEN 'pending' THEN until END, CASE status WHEN 'running' THEN until END, since, claim,
            worker, (SELECT '' FROM kinds WHERE name = $1 AND notify IS NOT NULL)
        FROM input WHERE was IS NULL
        ON CONFLICT DO NOTHING
        RETURNING id, message_id, origin, generation, status, args, result, error,
            floor(extract(epoch FROM coalesce(due_at, lease_until) - due_set_on))::bigint AS seconds
    ), held AS MATERIALIZED (
        SELECT works.id, input.was, input.status, input.result, input.until, input.since, input.claim, input.reason,
            input.worker,
            input.due / 1000000 AS seconds
        FROM input JOIN works USING (message_id, generation, attempt)
        WHERE works.kind = $1 AND input.was IS NOT NULL AND works.status = input.was AND works.deleted_on IS NULL
            AND (input.args IS NULL OR works.args::text = input.args)
            AND (input.status = 'running' OR input.claim IS NULL OR works.claim = input.claim)
        ORDER BY works.message_id
        FOR NO KEY UPDATE OF works
    ), updated AS (
        UPDATE works SET
            status = held.status, result = held.result::json,
            attempt = attempt + CASE held.status WHEN 'pending' THEN 1 ELSE 0 END,
            failures = failures + CASE WHEN held.reason IS NULL OR held.status = 'cancelled' THEN 0 ELSE 1 END,
            error = CASE held.status WHEN 'running' THEN error ELSE held.reason END, progress = NULL, note = NULL,
            due_at = CASE held.status WHEN 'pending' THEN held.until END,
            lease_until = CASE held.status WHEN 'running' THEN held.until END,
            due_set_on = held.since, claim = held.claim, worker = held.worker, sent_at = NULL,
            version = version + 1, updated_on = now()
        FROM held WHERE works.id = held.id
        RETURNING works.id, works.message_id, works.origin, works.generation, works.attempt, works.status,
            works.args, works.result, held.was, held.reason, held.seconds, CASE WHEN held.status = 'done' AND works.generation = 1 THEN
                least(255, floor(8 / ln(2.0::float8) * ln(greatest(1,
                    1000 * date_part('epoch', now() - greatest(works.created_on, works.run_at))))))::smallint
            END AS latency
    ), changed AS (
        SELECT id, message_id, origin, generation, 1 AS attempt, status, args, result, NULL::work_status AS was,
            error AS reason, seconds, NULL::smallint AS latency
        FROM inserted
        UNION ALL
        SELECT id, message_id, origin, generation, attempt, status, args, result, was, reason, seconds, latency
        FROM updated
    ), logged AS (
        INSERT INTO events (work_id, generation, variable, value, status)
        SELECT id, generation,
            unnest(CASE WHEN was = 'running' THEN '{}' ELSE '{compute/start}' END::event_variable[]
                || CASE status WHEN 'running' THEN '{}' WHEN 'done' THEN '{compute/stop,compute/result}'
                    WHEN 'cancelled' THEN '{work/cancelled}'
                    ELSE CASE WHEN reason IS NULL THEN '{compute/snoozed}' ELSE '{compute/error}' END
                    END::event_variable[]),
            unnest(CASE WHEN was = 'running' THEN '{}' ELSE ARRAY[''] END
                || CASE status WHEN 'running' THEN '{}' WHEN 'done' THEN ARRAY['', result::text]
                    ELSE ARRAY[coalesce(reason, seconds::text)] END),
            status
        FROM changed
    ), counted AS (
        INSERT INTO stat_deltas (kind, origin, was, status, latency, works)
        SELECT $1, origin, was, status, latency, count(*) FROM changed WHERE was IS DISTINCT FROM status
        GROUP BY origin, was, status, latency
    ), given_up AS (
        INSERT INTO dead_letters (kind, work_id, generation, message_id, reason, attempts)
        SELECT $1, id, generation, message_id, reason, attempt FROM changed WHERE status = 'failed'
        ON CONFLICT DO NOTHING
    )
    SELECT message_id, CASE status WHEN 'running' THEN args::text END AS args, latency FROM changed";

/// Records outcomes that are sorted by `message_id`.
pub(super) fn complete(
    connection: &mut PgConnection,
    kind: &KindName,
    completions: &[Completion],
) -> Result<Recorded, Failure> {
    let usual = |one: &Completion| one.guard == Guard::NoRow && one.outcome.result().is_some();
    let changed = if completions.iter().all(usual) {
        skipping_at_need(connection, |connection, on_conflict| {
            complete_done(connection, kind, completions, on_conflict)
        })?
    } else {
        let reason = |one: &Completion| one.outcome.reason().map(without_nul);
        let worker = |one: &'_ Completion| one.outcome.worker().map(ToString::to_string);
        let statement = sql_query(COMPLETE)
            .bind::<Text, _>(kind.as_str())
            .bind::<Array<Text>, _>(column(completions, |one| one.message_id.as_str()))
            .bind::<Array<Text>, _>(column(completions, |one| one.work_code.as_str()))
            .bind::<Array<Text>, _>(column(completions, |one| one.work_code.origin().as_str()))
            .bind::<Array<Nullable<Text>>, _>(column(completions, compared_args))
            .bind::<Array<Nullable<Text>>, _>(column(completions, |one| one.guard.status().map(Status::as_str)))
            .bind::<Array<Integer>, _>(column(completions, |one| one.guard.run().generation))
            .bind::<Array<Integer>, _>(column(completions, |one| one.guard.run().attempt))
            .bind::<Array<Text>, _>(column(completions, |one| one.outcome.status().as_str()))
            .bind::<Array<Nullable<Text>>, _>(column(completions, |one| one.outcome.result().map(Json::as_str)))
            .bind::<Array<Nullable<BigInt>>, _>(column(completions, |one| one.outcome.due_in().map(microseconds)))
            .bind::<Array<Nullable<BigInt>>, _>(column(completions, Completion::claim))
            .bind::<Array<Nullable<Text>>, _>(column(completions, reason))
            .bind::<Array<Nullable<Text>>, _>(column(completions, worker));
        Prepared(statement).load(connection)?
    };
    let bucket = |row: &Changed| row.latency.and_then(|bucket| u8::try_from(bucket).ok());
    let latencies = changed.iter().filter_map(bucket).collect();
    let applied = applied_of(changed);
    let skipped: Vec<&str> = (completions.iter())
        .filter(|one| one.guard == Guard::NoRow && !applied.contains_key(one.message_id.as_str()))
        .map(|one| one.message_id.as_str())
        .collect();
    if skipped.is_empty() {
        return Ok(Recorded {
            applied,
            present: MessageIds::new(),
            latencies,
        });
    }
    let present = sql_query("SELECT message_id FROM works WHERE kind = $1 AND message_id = ANY($2)")
        .bind::<Text, _>(kind.as_str())
        .bind::<Array<Text>, _>(skipped)
        .load(connection)?;
    let present: Vec<MessageIdRow> = present;
    Ok(Recorded {
        applied,
        present: present.into_iter().map(|found| found.message_id).collect(),
        latencies,
    })
}

/// Records the usual batch, demands without a row and all computed, in a third less of the server's time.
fn complete_done(
    connection: &mut PgConnection,
    kind: &KindName,
    completions: &[Completion],
    on_conflict: OnConflict,
) -> QueryResult<Vec<Changed>> {
    let statement = sql_query(format!(
        "WITH inserted AS (
            INSERT INTO works (kind, work_code, origin, message_id, args, status, result, notify)
            SELECT $1, work_code, origin, message_id, args::json, 'done', result::json,
                (SELECT '' FROM kinds WHERE name = $1 AND notify IS NOT NULL)
            FROM unnest($2, $3, $4::work_origin[], $5, $6) AS input (message_id, work_code, origin, args, result)
            {}
            RETURNING id, message_id, origin, generation, result
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, unnest('{{compute/start,compute/stop,compute/result}}'::event_variable[]),
                unnest(ARRAY['', '', result::text]), 'done'
            FROM inserted
        ), counted AS (
            INSERT INTO stat_deltas (kind, origin, status, works)
            SELECT $1, origin, 'done', count(*) FROM inserted GROUP BY origin
        )
        SELECT message_id, NULL::text AS args, NULL::smallint AS latency FROM inserted",
        on_conflict.clause()
    ))
    .bind::<Text, _>(kind.as_str())
    .bind::<Array<Text>, _>(column(completions, |one| one.message_id.as_str()))
    .bind::<Array<Text>, _>(column(completions, |one| one.work_code.as_str()))
    .bind::<Array<Text>, _>(column(completions, |one| one.work_code.origin().as_str()))
    .bind::<Array<Nullable<Text>>, _>(column(completions, compared_args))
    .bind::<Array<Nullable<Text>>, _>(column(completions, |one| one.outcome.result().map(Json::as_str)));
    Prepared(statement).load(connection)
}

/// The arguments of a row to insert, or those that the row must have.
fn compared_args(one: &Completion) -> Option<&str> {
    one.args.as_ref().filter(|_| !one.guard.is_running()).map(Json::as_str)
}

/// Adds those that were to be running and are, by the very claim that they were recorded with.
pub(super) fn add_claimed(
    connection: &mut PgConnection,
    kind: &KindName,
    completions: &[Completion],
    applied: &mut Applied,
) -> Result<(), Failure> {
    let doubtful = |one: &&Completion| one.outcome.claim().is_some() && !applied.contains_key(one.message_id.as_str());
    let claims: Vec<&Completion> = completions.iter().filter(doubtful).collect();
    if claims.is_empty() {
        return Ok(());
    }
    let running: Vec<Changed> = sql_query(
        "SELECT message_id, args::text AS args, NULL::smallint AS latency
        FROM unnest($2, $3, $4, $5) AS input (message_id, generation, attempt, claim)
        JOIN works USING (message_id, generation, attempt, claim)
        WHERE kind = $1 AND status = 'running' AND deleted_on IS NULL",
    )
    .bind::<Text, _>(kind.as_str())
    .bind::<Array<Text>, _>(column(&claims, |one| one.message_id.as_str()))
    .bind::<Array<Integer>, _>(column(&claims, |one| one.guard.run().generation))
    .bind::<Array<Integer>, _>(column(&claims, |one| one.guard.run().attempt))
    .bind::<Array<Nullable<BigInt>>, _>(column(&claims, |one| one.outcome.claim()))
    .load(connection)?;
    applied.extend(applied_of(running));
    Ok(())
}

/// Makes running rows for which the condition holds pending again, or fails them.
pub(super) fn rescue(
    connection: &mut PgConnection,
    lost: &str,
    max_lost: i32,
    limit: i64,
) -> Result<Vec<Freed>, Failure> {
    let statement = sql_query(format!(
        "WITH lost AS MATERIALIZED (
            SELECT id FROM works
            WHERE status = 'running' AND {lost}
            LIMIT $2
            FOR NO KEY UPDATE SKIP LOCKED
        ), freed AS (
            UPDATE works SET
                status = CASE WHEN lost_leases < $1 THEN 'pending' ELSE 'failed' END::work_status,
                attempt = attempt + CASE WHEN lost_leases < $1 THEN 1 ELSE 0 END,
                due_at = CASE WHEN lost_leases < $1 THEN now() END, lease_until = NULL, due_set_on = NULL, claim = NULL,
                worker = NULL,
                error = '{LEASE_LOST}', lost_leases = lost_leases + 1, sent_at = NULL,
                version = version + 1, updated_on = now()
            FROM lost WHERE works.id = lost.id
            RETURNING works.id, works.kind, works.generation, works.attempt, works.message_id, works.origin, works.status,
                works.work_code
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, 'compute/error', '{LEASE_LOST}', status FROM freed
        ), counted AS (
            INSERT INTO stat_deltas (kind, origin, was, status, works)
            SELECT kind, origin, 'running', status, count(*) FROM freed GROUP BY kind, origin, status
        ), given_up AS (
            INSERT INTO dead_letters (kind, work_id, generation, message_id, reason, attempts)
            SELECT kind, id, generation, message_id, '{LEASE_LOST}', attempt FROM freed WHERE status = 'failed'
            ON CONFLICT DO NOTHING
        )
        SELECT {} FROM freed",
        Freed::COLUMNS
    ))
    .bind::<Integer, _>(max_lost)
    .bind::<BigInt, _>(limit);
    Ok(Prepared(statement).load(connection)?)
}
