//! The outbox: claims of due rows, marked as sent, given back or lost.

use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::failure::Failure;
use super::prepared::Prepared;
use super::rows::{CLAIM, ClaimRow, Freed, column, from_unix_microseconds, microseconds, parsed};
use super::{PostgresStore, complete, waits};
use crate::domain::KindName;
use crate::store::{CLAIMED_BYTES, Claim, DispatchRows, LEASE_LOST, Result};

/// Rows that one statement changes: few enough to finish well within the statement timeout.
const RELEASED_AT_ONCE: i64 = 5_000;

/// The condition of running rows whose workers are consumers. Workers outside go on while these start again.
const OWN_WORKERS: &str = "(worker IS NULL OR worker LIKE 'consumer:%')";

/// The kinds that have pending rows, found by as many steps in the index as there are, and one NULL behind them.
pub(super) const PENDING_KINDS: &str = "pending_kinds AS (
    (SELECT kind FROM works WHERE status = 'pending' ORDER BY kind LIMIT 1)
    UNION ALL
    SELECT (SELECT works.kind FROM works WHERE status = 'pending' AND works.kind > pending_kinds.kind
        ORDER BY works.kind LIMIT 1)
    FROM pending_kinds WHERE pending_kinds.kind IS NOT NULL
)";

/// A condition that always holds, and lets its transaction commit before the disk has it. A claim that a crash of the
/// server takes back is made again, and causes at most a second message. What follows a claim and is committed to disk
/// brings the claim along.
const NOT_SYNCHRONOUS: &str = "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'";

#[derive(QueryableByName)]
struct Kind {
    #[diesel(sql_type = Text)]
    kind: String,
}

fn names(kinds: &[KindName]) -> Vec<String> {
    kinds.iter().map(ToString::to_string).collect()
}

#[derive(QueryableByName)]
struct Millis {
    #[diesel(sql_type = BigInt)]
    millis: i64,
}

#[derive(QueryableByName)]
struct OldestDue {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    millis: i64,
}

#[derive(QueryableByName)]
struct NextDue {
    #[diesel(sql_type = Nullable<BigInt>)]
    millis: Option<i64>,
}

impl From<Millis> for Duration {
    fn from(Millis { millis }: Millis) -> Self {
        Self::from_millis(u64::try_from(millis).unwrap_or_default())
    }
}

#[async_trait]
impl DispatchRows for PostgresStore {
    async fn claim(
        &self,
        skipped: &[KindName],
        within: Option<Duration>,
        hold: Duration,
        limit: u16,
    ) -> Result<Vec<Claim>> {
        let skipped = names(skipped);
        let (within, hold) = (within.map(microseconds), microseconds(hold));
        self.run(move |connection| {
            let statement = sql_query(format!(
                "WITH RECURSIVE {PENDING_KINDS}
                UPDATE works SET due_at = now() + $2 * interval '1 microsecond', sent_at = now()
                WHERE {NOT_SYNCHRONOUS} AND id = ANY(ARRAY(
                    SELECT due.id FROM pending_kinds JOIN kinds ON kinds.name = pending_kinds.kind AND is_open
                        AND NOT is_pulled
                    CROSS JOIN LATERAL (
                        SELECT id, sum(bytes) OVER (ORDER BY due_at, id) - bytes AS before FROM (
                            SELECT id, due_at, octet_length(args::text) AS bytes FROM works
                            WHERE status = 'pending' AND works.kind = pending_kinds.kind AND due_at <= now()
                                AND due_at > coalesce(now() - $1 * interval '1 microsecond', '-infinity')
                            ORDER BY due_at LIMIT $3
                            FOR NO KEY UPDATE SKIP LOCKED
                        ) AS held
                    ) AS due
                    WHERE pending_kinds.kind <> ALL($4) AND due.before < {CLAIMED_BYTES}
                ))
                RETURNING {CLAIM}",
            ))
            .bind::<Nullable<BigInt>, _>(within)
            .bind::<BigInt, _>(hold)
            .bind::<BigInt, _>(i64::from(limit))
            .bind::<Array<Text>, _>(&skipped);
            let rows: Vec<ClaimRow> = Prepared(statement).load(connection)?;
            rows.into_iter().map(ClaimRow::into_claim).collect()
        })
        .await
    }

    async fn pending_kinds(&self) -> Result<Vec<KindName>> {
        self.run(|connection| {
            let select = format!(
                "WITH RECURSIVE {PENDING_KINDS} SELECT kind FROM pending_kinds WHERE kind IS NOT NULL
                    AND NOT EXISTS (SELECT FROM kinds WHERE name = kind AND is_pulled)"
            );
            let kinds: Vec<Kind> = sql_query(select).load(connection)?;
            kinds.into_iter().map(|row| parsed(0, row.kind.parse())).collect()
        })
        .await
    }

    async fn mark_sent(&self, claims: &[Claim]) -> Result<()> {
        self.end_claims(claims, "due_at = NULL").await
    }

    async fn give_back(&self, claims: &[Claim]) -> Result<()> {
        self.end_claims(claims, "due_at = now(), due_set_on = NULL, sent_at = NULL")
            .await
    }

    async fn release_sent(&self, kind: &KindName, longer_than: Duration) -> Result<u64> {
        let longer_than = microseconds(longer_than);
        let mut released = 0;
        loop {
            let kind = kind.clone();
            let some = self
                .run(move |connection| {
                    let released = sql_query(
                        "UPDATE works SET due_at = now(), due_set_on = NULL, sent_at = NULL
                        WHERE id = ANY(ARRAY(
                            SELECT id FROM works
                            WHERE status = 'pending' AND kind = $3 AND (sent_at <= now() - $1 * interval '1 microsecond'
                                OR sent_at > now() + interval '1 second')
                            LIMIT $2
                            FOR NO KEY UPDATE SKIP LOCKED
                        ))",
                    )
                    .bind::<BigInt, _>(longer_than)
                    .bind::<BigInt, _>(RELEASED_AT_ONCE)
                    .bind::<Text, _>(kind.as_str())
                    .execute(connection)?;
                    Ok(released)
                })
                .await?;
            released += some as u64;
            if (some as i64) < RELEASED_AT_ONCE {
                return Ok(released);
            }
        }
    }

    async fn next_due(&self, skipped: &[KindName]) -> Result<Option<Duration>> {
        let skipped = names(skipped);
        self.run(move |connection| {
            let statement = sql_query(format!(
                "WITH RECURSIVE {PENDING_KINDS}
                SELECT (extract(epoch FROM least(
                    (SELECT min(next.due_at) FROM pending_kinds
                        JOIN kinds ON kinds.name = pending_kinds.kind AND is_open AND NOT is_pulled
                        CROSS JOIN LATERAL (
                        SELECT due_at FROM works
                        WHERE status = 'pending' AND works.kind = pending_kinds.kind
                            AND due_at > now() - interval '1 second'
                        ORDER BY due_at LIMIT 1
                    ) AS next WHERE pending_kinds.kind <> ALL($1)),
                    (SELECT min(lease_until) FROM works
                        WHERE status = 'running' AND lease_until > now() - interval '1 second')
                ) - now()) * 1000)::bigint AS millis",
            ))
            .bind::<Array<Text>, _>(&skipped);
            let next: NextDue = Prepared(statement).get_result(connection)?;
            Ok(next
                .millis
                .map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default())))
        })
        .await
    }

    async fn oldest_due(&self) -> Result<Vec<(KindName, Duration)>> {
        self.run(|connection| {
            let oldest: Vec<OldestDue> = sql_query(format!(
                "WITH RECURSIVE {PENDING_KINDS}
                SELECT pending_kinds.kind, (extract(epoch FROM now() - oldest.due_at) * 1000)::bigint AS millis
                FROM pending_kinds JOIN kinds ON kinds.name = pending_kinds.kind AND is_open CROSS JOIN LATERAL (
                    SELECT due_at FROM works
                    WHERE status = 'pending' AND works.kind = pending_kinds.kind AND due_at <= now()
                    ORDER BY due_at LIMIT 1
                ) AS oldest"
            ))
            .load(connection)?;
            let of_kind = |OldestDue { kind, millis }| Ok((parsed(0, kind.parse())?, Millis { millis }.into()));
            oldest.into_iter().map(of_kind).collect()
        })
        .await
    }

    async fn lose_sent(&self, max_lost: i32) -> Result<u64> {
        let mut lost = 0;
        loop {
            let some = self.run(move |connection| lose_sent(connection, max_lost)).await?;
            lost += Freed::log(&some);
            if (some.len() as i64) < RELEASED_AT_ONCE {
                return Ok(lost);
            }
        }
    }

    async fn lose_running(&self, max_lost: i32) -> Result<u64> {
        let mut lost = 0;
        loop {
            let some = self
                .run(move |connection| complete::rescue(connection, OWN_WORKERS, max_lost, RELEASED_AT_ONCE))
                .await?;
            lost += Freed::log(&some);
            if (some.len() as i64) < RELEASED_AT_ONCE {
                return Ok(lost);
            }
        }
    }

    async fn clock(&self) -> Result<Duration> {
        self.run(|connection| {
            let clock: Millis = sql_query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS millis")
                .get_result(connection)?;
            Ok(clock.into())
        })
        .await
    }

    async fn shorten_waits(&self, most: Option<u32>) -> Result<u64> {
        let mut shortened = self.run(waits::shorten_leases).await? as u64;
        loop {
            let some = self
                .run(move |connection| waits::shorten(connection, most.map(i64::from)))
                .await?;
            shortened += some as u64;
            if (some as i64) < waits::AT_ONCE {
                return Ok(shortened);
            }
        }
    }
}

/// The attempt did not begin, so nothing that is shown changes unless the work is given up.
fn lose_sent(connection: &mut PgConnection, max_lost: i32) -> std::result::Result<Vec<Freed>, Failure> {
    let lost = sql_query(format!(
        "WITH freed AS (
            UPDATE works SET
                status = CASE WHEN lost_leases < $1 THEN 'pending' ELSE 'failed' END::work_status,
                due_at = CASE WHEN lost_leases < $1 THEN now() END, due_set_on = NULL,
                version = version + CASE WHEN lost_leases < $1 THEN 0 ELSE 1 END,
                updated_on = CASE WHEN lost_leases < $1 THEN updated_on ELSE now() END,
                error = CASE WHEN lost_leases < $1 THEN error ELSE '{LEASE_LOST}' END,
                lost_leases = lost_leases + 1, sent_at = NULL
            WHERE id = ANY(ARRAY(
                SELECT id FROM works WHERE status = 'pending' AND sent_at IS NOT NULL LIMIT $2
                FOR NO KEY UPDATE SKIP LOCKED
            ))
            RETURNING id, kind, generation, attempt, message_id, origin, status, work_code
        ), logged AS (
            INSERT INTO events (work_id, generation, variable, value, status)
            SELECT id, generation, unnest('{{compute/start,compute/error}}'::event_variable[]),
                unnest(ARRAY['', '{LEASE_LOST}']), status
            FROM freed WHERE status = 'failed'
        ), counted AS (
            INSERT INTO stat_deltas (kind, origin, was, status, works)
            SELECT kind, origin, 'pending', status, count(*) FROM freed WHERE status = 'failed'
            GROUP BY kind, origin, status
        ), given_up AS (
            INSERT INTO dead_letters (kind, work_id, generation, message_id, reason, attempts)
            SELECT kind, id, generation, message_id, '{LEASE_LOST}', attempt FROM freed WHERE status = 'failed'
            ON CONFLICT DO NOTHING
        )
        SELECT {} FROM freed",
        Freed::COLUMNS
    ))
    .bind::<Integer, _>(max_lost)
    .bind::<BigInt, _>(RELEASED_AT_ONCE)
    .load(connection)?;
    Ok(lost)
}

impl PostgresStore {
    /// Changes the rows that are still as they were claimed. A locked row is moving on; if that is rolled back, it is
    /// sent once more.
    async fn end_claims(&self, claims: &[Claim], change: &str) -> Result<()> {
        let claims = claims.to_vec();
        let sql = format!(
            "UPDATE works SET {change}
            WHERE {NOT_SYNCHRONOUS} AND id = ANY(ARRAY(
                SELECT works.id FROM unnest($1, $2, $3, $4) AS claimed (id, generation, attempt, due_at)
                JOIN works USING (id, generation, attempt, due_at)
                WHERE works.status = 'pending'
                FOR NO KEY UPDATE OF works SKIP LOCKED
            ))"
        );
        self.run(move |connection| {
            let statement = sql_query(sql.as_str())
                .bind::<Array<BigInt>, _>(column(&claims, |claim| claim.id.0))
                .bind::<Array<Integer>, _>(column(&claims, |claim| claim.run.generation))
                .bind::<Array<Integer>, _>(column(&claims, |claim| claim.run.attempt))
                .bind::<Array<Timestamptz>, _>(column(&claims, |claim| from_unix_microseconds(claim.due_at.0)));
            Prepared(statement).execute(connection)?;
            Ok(())
        })
        .await
    }
}
