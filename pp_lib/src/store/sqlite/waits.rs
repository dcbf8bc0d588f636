//! Waits that became too long because the clock was set back.

use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, RunQueryDsl as _, sql_query};

use super::rows::NOW;

/// Rows that one transaction changes, so that others have their turns.
pub(super) const AT_ONCE: usize = 5_000;

/// The moment an unfinished row began to wait; NULL for one that waits for its `run_at`. A row that is due without a
/// delay began to wait when it was due.
const SINCE: &str = "CASE
    WHEN status = 'running' THEN coalesce(due_set_on, updated_on)
    WHEN sent_at IS NOT NULL THEN sent_at
    WHEN due_at IS NOT run_at THEN coalesce(due_set_on, due_at)
END";

/// Makes rows that began to wait in the future wait as long as they did then, from now on. Looks at all running rows and
/// the first `most` pending ones in the order of kind and `due_at`; returns how many of them it changed, at most [`AT_ONCE`].
pub(super) fn shorten(connection: &mut SqliteConnection, most: Option<i64>) -> QueryResult<usize> {
    sql_query(format!(
        "UPDATE works SET
             due_at = {NOW} + (due_at - ({SINCE})), lease_until = {NOW} + (lease_until - ({SINCE})), due_set_on = {NOW}, sent_at = iif(sent_at IS NULL, NULL, {NOW})
         WHERE id IN (
             SELECT id FROM (
                 SELECT * FROM (
                     SELECT id, status, due_at, due_set_on, sent_at, run_at, updated_on FROM works
                     WHERE status = 'pending' AND due_at > {NOW} ORDER BY kind, due_at LIMIT ?)
                 UNION ALL
                 SELECT id, status, due_at, due_set_on, sent_at, run_at, updated_on FROM works
                 WHERE status = 'running' AND lease_until > {NOW})
             WHERE ({SINCE}) > {NOW} + 1000 LIMIT ?)"
    ))
    .bind::<BigInt, _>(most.unwrap_or(-1))
    .bind::<BigInt, _>(AT_ONCE as i64)
    .execute(connection)
}

/// The same for leases.
pub(super) fn shorten_leases(connection: &mut SqliteConnection) -> QueryResult<usize> {
    sql_query(format!(
        "UPDATE leases SET held_until = {NOW} + (held_until - set_on), set_on = {NOW} WHERE set_on > {NOW} + 1000"
    ))
    .execute(connection)
}
