//! Waits that became too long because the server's clock was set back.

use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Nullable};
use diesel::{RunQueryDsl as _, sql_query};

use super::failure::Failure;

/// Rows that one statement changes: few enough to finish well within the statement timeout.
pub(super) const AT_ONCE: i64 = 5_000;

/// The end of a row's wait.
const UNTIL: &str = "coalesce(due_at, lease_until)";

/// The moment an unfinished row began to wait; NULL for one that waits for its `run_at`. A row that is due without a
/// delay began to wait when it was due. Older programs do not record when a lease was extended, only when its attempt
/// began.
const SINCE: &str = "CASE
    WHEN status = 'running' THEN coalesce(due_set_on, updated_on)
    WHEN sent_at IS NOT NULL THEN sent_at
    WHEN due_at IS DISTINCT FROM run_at THEN coalesce(due_set_on, due_at)
END";

/// Makes rows that began to wait in the future wait as long as they did then, from now on. Looks at all running rows and
/// the first `most` pending ones in the order of kind and `due_at`; returns how many of them it changed, at most [`AT_ONCE`].
pub(super) fn shorten(connection: &mut PgConnection, most: Option<i64>) -> Result<usize, Failure> {
    let late = format!("{UNTIL} > now() AND {SINCE} > now() + interval '1 second'");
    let shortened = sql_query(format!(
        "WITH late AS MATERIALIZED (
            SELECT id FROM (
                (SELECT id, status, due_at, lease_until, due_set_on, sent_at, run_at, updated_on FROM works
                WHERE status = 'pending' AND due_at > now() ORDER BY kind, due_at LIMIT $1)
                UNION ALL
                SELECT id, status, due_at, lease_until, due_set_on, sent_at, run_at, updated_on FROM works
                WHERE status = 'running'
            ) AS waiting
            WHERE {late} LIMIT $2
        ), held AS MATERIALIZED (
            SELECT id FROM late JOIN works USING (id)
            WHERE status IN ('pending', 'running') AND {late}
            FOR NO KEY UPDATE OF works SKIP LOCKED
        )
        UPDATE works SET
            due_at = now() + (due_at - {SINCE}), lease_until = now() + (lease_until - {SINCE}), due_set_on = now(),
            sent_at = CASE WHEN sent_at IS NULL THEN NULL ELSE now() END
        FROM held WHERE works.id = held.id"
    ))
    .bind::<Nullable<BigInt>, _>(most)
    .bind::<BigInt, _>(AT_ONCE)
    .execute(connection)?;
    Ok(shortened)
}

/// The same for leases.
pub(super) fn shorten_leases(connection: &mut PgConnection) -> Result<usize, Failure> {
    let shortened = sql_query(
        "UPDATE leases SET held_until = clock_timestamp() + (held_until - set_on), set_on = clock_timestamp()
        WHERE set_on > clock_timestamp() + interval '1 second'",
    )
    .execute(connection)?;
    Ok(shortened)
}
