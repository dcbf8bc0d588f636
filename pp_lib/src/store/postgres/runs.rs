//! Claims of workers that ask the store: taken, extended and looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, SmallInt, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::failure::Failure;
use super::prepared::Prepared;
use super::rows::{WORK, WorkRow, column, microseconds, parsed, sorted, within};
use crate::domain::{Json, KindName, PAGE_BYTES, Progress, Run, WorkId, WorkerName};
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

/// The columns of a [`ClaimedRow`].
const CLAIMED: &str = "id, kind, message_id, work_code, args::text AS args, generation, attempt, failures,
    lost_leases, claim,
    extract(epoch FROM due_set_on)::bigint AS began_on, extract(epoch FROM lease_until)::bigint AS lease_until";

impl ClaimedRow {
    fn into_run(self) -> std::result::Result<ClaimedRun, Failure> {
        let id = self.id;
        Ok(ClaimedRun {
            id: WorkId(id),
            kind: parsed(id, self.kind.parse())?,
            message_id: parsed(id, self.message_id.try_into())?,
            work_code: parsed(id, self.work_code.parse())?,
            args: Json::accepted(self.args),
            run: Run {
                generation: self.generation,
                attempt: self.attempt,
            },
            failures: self.failures,
            lost_leases: self.lost_leases,
            claim: self.claim,
            began_on: self.began_on,
            lease_until: self.lease_until,
        })
    }
}

#[derive(QueryableByName)]
struct UntilDueRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    millis: i64,
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

/// The rows that are still running by these claims, given as five columns, locked in the order of all.
const HELD: &str = "held AS MATERIALIZED (
    SELECT works.id, works.claim FROM unnest($1, $2, $3, $4, $5) AS input (id, kind, generation, attempt, claim)
    JOIN works USING (id, kind, generation, attempt, claim)
    WHERE works.status = 'running' AND works.deleted_on IS NULL
    ORDER BY works.message_id
    FOR NO KEY UPDATE OF works
)";

#[async_trait]
impl Runs for PostgresStore {
    async fn claim_runs(&self, kinds: &[KindName], places: &[Place]) -> Result<Vec<ClaimedRun>> {
        if kinds.is_empty() || places.is_empty() {
            return Ok(Vec::new());
        }
        let (kinds, places) = (column(kinds, ToString::to_string), places.to_vec());
        let tried_before = AtomicBool::new(false);
        self.run(move |connection| {
            // An earlier try may have taken effect without a reply.
            let mut rows = Vec::new();
            if tried_before.swap(true, Ordering::Relaxed) {
                rows = by_claims(connection, &places)?;
            }
            if rows.is_empty() {
                rows = claim(connection, &kinds, &places)?;
            }
            rows.into_iter().map(ClaimedRow::into_run).collect()
        })
        .await
    }

    async fn until_due(&self, kinds: &[KindName]) -> Result<Vec<UntilDue>> {
        let kinds = column(kinds, ToString::to_string);
        self.run(move |connection| {
            let statement = sql_query(
                "SELECT name AS kind, greatest(0, ceil(extract(epoch FROM due_at - now()) * 1000))::bigint AS millis
                FROM kinds CROSS JOIN LATERAL (
                    SELECT due_at FROM works
                    WHERE status = 'pending' AND works.kind = kinds.name AND due_at IS NOT NULL
                    ORDER BY due_at LIMIT 1
                ) AS first
                WHERE name = ANY($1) AND is_open",
            )
            .bind::<Array<Text>, _>(&kinds);
            let rows: Vec<UntilDueRow> = Prepared(statement).load(connection)?;
            let of_row = |row: UntilDueRow| {
                let millis = u64::try_from(row.millis).unwrap_or_default();
                Ok((parsed(0, row.kind.parse())?, Duration::from_millis(millis)))
            };
            rows.into_iter().map(of_row).collect()
        })
        .await
    }

    async fn extend_runs(&self, extensions: &[Extension]) -> Result<Vec<Option<i64>>> {
        if extensions.is_empty() {
            return Ok(Vec::new());
        }
        let rows = extensions.to_vec();
        let extended = self
            .run(move |connection| {
                let statement = sql_query(format!(
                    "WITH {HELD}
                    UPDATE works SET due_set_on = now(), lease_until = greatest(now(),
                        least(now() + lease * interval '1 microsecond', to_timestamp(ends_on)))
                    FROM held JOIN unnest($1, $5, $6, $7) AS wanted (id, claim, lease, ends_on) USING (id, claim)
                    WHERE works.id = held.id
                    RETURNING works.id, works.claim, extract(epoch FROM works.lease_until)::bigint AS lease_until"
                ))
                .bind::<Array<BigInt>, _>(column(&rows, |one| one.held.id.0))
                .bind::<Array<Text>, _>(column(&rows, |one| one.held.kind.as_str()))
                .bind::<Array<Integer>, _>(column(&rows, |one| one.held.run.generation))
                .bind::<Array<Integer>, _>(column(&rows, |one| one.held.run.attempt))
                .bind::<Array<BigInt>, _>(column(&rows, |one| one.held.claim))
                .bind::<Array<BigInt>, _>(column(&rows, |one| microseconds(one.lease)))
                .bind::<Array<BigInt>, _>(column(&rows, |one| one.ends_on));
                let extended: Vec<ExtendedRow> = Prepared(statement).load(connection)?;
                Ok(extended)
            })
            .await?;
        let until: HashMap<(i64, i64), i64> = (extended.into_iter())
            .map(|row| ((row.id, row.claim), row.lease_until))
            .collect();
        let until_of = |one: &Extension| until.get(&(one.held.id.0, one.held.claim)).copied();
        Ok(extensions.iter().map(until_of).collect())
    }

    async fn run_states(&self, held: &[HeldRun]) -> Result<Vec<RunState>> {
        let held = held.to_vec();
        self.run(move |connection| {
            // Each attempt that does not finish its work ends with one event.
            let rows: Vec<StateRow> = sql_query(format!(
                "SELECT works.id, input.generation AS asked_generation, input.attempt AS asked_attempt, works.generation, works.attempt, status::text AS status, claim, failures,
                    deleted_on IS NOT NULL AS is_deleted, EXISTS (
                        SELECT FROM events WHERE work_id = works.id AND variable = 'work/redriven'
                            AND events.generation = input.generation + 1
                    ) AS was_redriven, EXISTS (
                        SELECT FROM (
                            SELECT value, row_number() OVER (ORDER BY events.id) AS number FROM events
                            WHERE work_id = works.id AND events.generation = input.generation
                                AND variable IN ('compute/error', 'compute/snoozed')
                        ) AS ended WHERE ended.number = input.attempt AND ended.value = '{LEASE_LOST}'
                    ) AS was_lost
                FROM unnest($1, $2, $3, $4) AS input (id, kind, generation, attempt) JOIN works USING (id, kind)",
            ))
            .bind::<Array<BigInt>, _>(column(&held, |one| one.id.0))
            .bind::<Array<Text>, _>(column(&held, |one| one.kind.as_str()))
            .bind::<Array<Integer>, _>(column(&held, |one| one.run.generation))
            .bind::<Array<Integer>, _>(column(&held, |one| one.run.attempt))
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
                    status: parsed(row.id, row.status.parse())?,
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
        let rows = told.to_vec();
        self.run(move |connection| {
            sql_query(format!(
                "WITH {HELD}, told AS (
                    UPDATE works SET progress = report.percent, note = report.note, version = version + 1,
                        updated_on = now()
                    FROM held JOIN unnest($1, $5, $6, $7, $8) AS report (id, claim, percent, note, event)
                        USING (id, claim)
                    WHERE works.id = held.id
                    RETURNING works.id, works.generation, works.status, report.event
                )
                INSERT INTO events (work_id, generation, variable, value, status)
                SELECT id, generation, 'compute/progress', event, status FROM told"
            ))
            .bind::<Array<BigInt>, _>(column(&rows, |(held, _)| held.id.0))
            .bind::<Array<Text>, _>(column(&rows, |(held, _)| held.kind.as_str()))
            .bind::<Array<Integer>, _>(column(&rows, |(held, _)| held.run.generation))
            .bind::<Array<Integer>, _>(column(&rows, |(held, _)| held.run.attempt))
            .bind::<Array<BigInt>, _>(column(&rows, |(held, _)| held.claim))
            .bind::<Array<SmallInt>, _>(column(&rows, |(_, progress)| i16::from(progress.percent)))
            .bind::<Array<Text>, _>(column(&rows, |(_, progress)| progress.note.as_str()))
            .bind::<Array<Text>, _>(column(&rows, |(_, progress)| progress.event()))
            .execute(connection)?;
            Ok(())
        })
        .await
    }

    async fn workers_heard(&self, workers: &[(WorkerName, Vec<KindName>)]) -> Result<()> {
        let workers = sorted(workers, |(name, _)| name);
        self.run(move |connection| {
            let kinds = |kinds: &[KindName]| serde_json::to_string(kinds).unwrap_or_default();
            sql_query(format!(
                "WITH forgotten AS (
                    DELETE FROM workers WHERE seen_on < now() - interval '{FORGOTTEN_AFTER} s' AND name <> ALL($1)
                )
                INSERT INTO workers (name, kinds) SELECT name, kinds::json FROM unnest($1, $2) AS input (name, kinds)
                ON CONFLICT (name) DO UPDATE SET kinds = excluded.kinds, seen_on = now()"
            ))
            .bind::<Array<Text>, _>(column(&workers, |(name, _)| name.as_str()))
            .bind::<Array<Text>, _>(column(&workers, |(_, of_worker)| kinds(of_worker)))
            .execute(connection)?;
            Ok(())
        })
        .await
    }

    async fn workers(&self, limit: u16) -> Result<Vec<WorkerRow>> {
        self.run(move |connection| {
            let rows: Vec<HeardRow> = sql_query(format!(
                "SELECT name, kinds::text AS kinds, extract(epoch FROM since)::bigint AS since,
                    extract(epoch FROM seen_on)::bigint AS seen_on,
                    seen_on > now() - interval '1 second'
                        * CASE WHEN name LIKE 'consumer:%' THEN {CONSUMER_THERE_WITHIN} ELSE {THERE_WITHIN} END AS is_there
                FROM workers ORDER BY workers.seen_on DESC, name LIMIT $1"
            ))
            .bind::<Integer, _>(i32::from(limit))
            .load(connection)?;
            let of_row = |row: HeardRow| {
                Ok(WorkerRow {
                    name: WorkerName::stored(&row.name),
                    kinds: parsed(0, serde_json::from_str(&row.kinds))?,
                    since: row.since,
                    seen_on: row.seen_on,
                    is_there: row.is_there,
                })
            };
            rows.into_iter().map(of_row).collect()
        })
        .await
    }

    async fn running_works(&self, limit: u16) -> Result<Vec<RunningWork>> {
        self.run(move |connection| {
            let select = format!(
                "SELECT {WORK}, worker, extract(epoch FROM due_set_on)::bigint AS heard_on,
                    extract(epoch FROM lease_until)::bigint AS until,
                    extract(epoch FROM coalesce((
                        SELECT max(events.created_on) FROM events
                        WHERE work_id = works.id AND variable = 'compute/start'
                    ), updated_on))::bigint AS since
                FROM works WHERE status = 'running' AND deleted_on IS NULL LIMIT $1"
            );
            let bytes = "octet_length(args) + coalesce(octet_length(note), 0)";
            let page = within(PAGE_BYTES, bytes, &select, "ORDER BY since, id");
            let rows: Vec<RunningRow> = sql_query(page).bind::<Integer, _>(i32::from(limit)).load(connection)?;
            let of_row = |row: RunningRow| {
                Ok(RunningWork {
                    worker: row.worker.map(|name| WorkerName::stored(&name)),
                    work: row.work.into_work()?,
                    since: row.since,
                    heard_on: row.heard_on,
                    lease_until: row.until,
                })
            };
            rows.into_iter().map(of_row).collect()
        })
        .await
    }
}

fn claim(
    connection: &mut PgConnection,
    kinds: &[String],
    places: &[Place],
) -> std::result::Result<Vec<ClaimedRow>, Failure> {
    let statement = sql_query(format!(
        "WITH place AS MATERIALIZED (
            SELECT * FROM unnest($2, $3, $4) WITH ORDINALITY AS place (worker, lease, claim, number)
        ), due AS MATERIALIZED (
            SELECT id, row_number() OVER (ORDER BY due_at, id) AS number,
                sum(bytes) OVER (ORDER BY due_at, id) - bytes AS before
            FROM kinds CROSS JOIN LATERAL (
                SELECT id, due_at, octet_length(args::text) AS bytes FROM works
                WHERE status = 'pending' AND works.kind = kinds.name AND due_at <= now()
                ORDER BY due_at LIMIT cardinality($4)
                FOR NO KEY UPDATE SKIP LOCKED
            ) AS held
            WHERE kinds.name = ANY($1) AND is_open
        ), claimed AS (
            UPDATE works SET status = 'running', worker = place.worker, claim = place.claim,
                lease_until = now() + place.lease * interval '1 microsecond', due_at = NULL, due_set_on = now(),
                sent_at = NULL, progress = NULL, note = NULL, version = version + 1, updated_on = now()
            FROM due JOIN place USING (number)
            WHERE works.id = due.id AND due.before < {CLAIMED_BYTES}
            RETURNING works.*
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, 'compute/start', '', status FROM claimed
        ), counted AS (
            INSERT INTO stat_deltas (kind, origin, was, status, works)
            SELECT kind, origin, 'pending', status, count(*) FROM claimed GROUP BY kind, origin, status
        )
        SELECT {CLAIMED} FROM claimed"
    ))
    .bind::<Array<Text>, _>(kinds)
    .bind::<Array<Text>, _>(column(places, |place| place.worker.as_str()))
    .bind::<Array<BigInt>, _>(column(places, |place| microseconds(place.lease)))
    .bind::<Array<BigInt>, _>(column(places, |place| place.claim));
    Ok(Prepared(statement).load(connection)?)
}

fn by_claims(connection: &mut PgConnection, places: &[Place]) -> std::result::Result<Vec<ClaimedRow>, Failure> {
    Ok(sql_query(format!(
        "SELECT {CLAIMED} FROM works WHERE status = 'running' AND claim = ANY($1)"
    ))
    .bind::<Array<BigInt>, _>(column(places, |place| place.claim))
    .load(connection)?)
}
