//! Works as their owners change them: another bound, cancelled, started over, or removed.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{Connection as _, OptionalExtension as _, QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::failure::Failure;
use super::rows::{WORK, WorkRow, microseconds};
use crate::domain::{AddUpTo, Status, Work, WorkId};
use crate::store::{Changed, Result, WorkChanges};

/// A row as a change finds it, held until the change is committed.
#[derive(QueryableByName)]
struct Held {
    #[diesel(embed)]
    work: WorkRow,
    #[diesel(sql_type = Integer)]
    generation: i32,
}

/// Each change holds its row before it looks for the row's letter: one that a completion writes meanwhile would not be
/// seen by a statement that waited for that completion. Where the reply to a commit is lost, the change remembers what
/// it found, and so knows its own doing when it is run again.
#[async_trait]
impl WorkChanges for PostgresStore {
    async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>> {
        let pause = microseconds(pause);
        // Of the generation before it; there is none before the first.
        let found = AtomicI32::new(0);
        self.run(move |connection| {
            connection.transaction(|connection| {
                let Some(Held { work, generation }) = hold(connection, id)? else {
                    return Ok(Changed::Missing);
                };
                let mine = found.load(Ordering::Relaxed) == generation - 1 && work.add_up_to == add_up_to.get();
                if mine && generation > 1 {
                    return Ok(Changed::Applied(work.into_work()?));
                }
                if version.is_some_and(|version| version != work.version) {
                    return Ok(Changed::OtherVersion);
                }
                found.store(generation, Ordering::Relaxed);
                let updated: WorkRow = sql_query(format!(
                    "WITH updated AS (
                        UPDATE works SET
                            add_up_to = $2, status = 'pending', result = NULL,
                            generation = generation + 1, attempt = 1, failures = 0, lost_leases = 0, due_set_on = NULL,
                            due_at = greatest(run_at, least(now() + $3 * interval '1 microsecond',
                                CASE WHEN status = 'pending' AND sent_at IS NULL THEN due_at END)),
                            sent_at = NULL, version = version + 1, updated_on = now()
                        WHERE id = $1
                        RETURNING *
                    ), logged AS (
                        INSERT INTO events (work_id, generation, variable, value, status)
                        SELECT id, generation, 'work/updated', add_up_to::text, status FROM updated
                    ), counted AS (
                        INSERT INTO stat_deltas (origin, was, status, works)
                        SELECT origin, $4::work_status, status, 1 FROM updated WHERE status <> $4::work_status
                    ), forgotten AS (
                        DELETE FROM dead_letters WHERE work_id = $1
                    )
                    SELECT {WORK} FROM updated"
                ))
                .bind::<BigInt, _>(id.0)
                .bind::<Integer, _>(add_up_to.get())
                .bind::<BigInt, _>(pause)
                .bind::<Text, _>(&work.status)
                .get_result(connection)?;
                Ok(Changed::Applied(updated.into_work()?))
            })
        })
        .await
    }

    async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        // The version before it; there is none before the first.
        let found = AtomicI64::new(0);
        self.run(move |connection| {
            connection.transaction(|connection| {
                let Some(Held { work, .. }) = hold(connection, id)? else {
                    return Ok(Changed::Missing);
                };
                let status = work.status()?;
                let mine = found.load(Ordering::Relaxed) == work.version - 1 && status == Status::Cancelled;
                if mine && work.version > 1 {
                    return Ok(Changed::Applied(work.into_work()?));
                }
                if version.is_some_and(|version| version != work.version) {
                    return Ok(Changed::OtherVersion);
                }
                if !status.may_become(Status::Cancelled) {
                    return Ok(Changed::WrongStatus(status));
                }
                found.store(work.version, Ordering::Relaxed);
                changed(connection, CANCEL, &work)
            })
        })
        .await
    }

    async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        // As for an update.
        let found = AtomicI32::new(0);
        self.run(move |connection| {
            connection.transaction(|connection| {
                let Some(Held { work, generation }) = hold(connection, id)? else {
                    return Ok(Changed::Missing);
                };
                if found.load(Ordering::Relaxed) == generation - 1 && generation > 1 {
                    return Ok(Changed::Applied(work.into_work()?));
                }
                if version.is_some_and(|version| version != work.version) {
                    return Ok(Changed::OtherVersion);
                }
                let status = work.status()?;
                if !matches!(status, Status::Failed | Status::Cancelled) {
                    return Ok(Changed::WrongStatus(status));
                }
                found.store(generation, Ordering::Relaxed);
                changed(connection, RETRY, &work)
            })
        })
        .await
    }

    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>> {
        let found = AtomicBool::new(false);
        self.run(move |connection| {
            connection.transaction(|connection| {
                let Some(Held { work, .. }) = hold(connection, id)? else {
                    let mine = found.load(Ordering::Relaxed);
                    return Ok(if mine { Changed::Applied(()) } else { Changed::Missing });
                };
                if version.is_some_and(|version| version != work.version) {
                    return Ok(Changed::OtherVersion);
                }
                found.store(true, Ordering::Relaxed);
                sql_query(
                    "WITH deleted AS (
                        UPDATE works SET
                            status = CASE WHEN status IN ('pending', 'running') THEN 'cancelled' ELSE status END,
                            due_at = NULL, sent_at = NULL, deleted_on = now(), version = version + 1,
                            updated_on = now()
                        WHERE id = $1
                        RETURNING id, generation, origin, status
                    ), logged AS (
                        INSERT INTO events (work_id, generation, variable, status)
                        SELECT id, generation, 'work/cancelled', status FROM deleted
                    ), counted AS (
                        INSERT INTO stat_deltas (origin, was, works)
                        SELECT origin, $2::work_status, 1 FROM deleted
                    )
                    DELETE FROM dead_letters WHERE work_id = $1",
                )
                .bind::<BigInt, _>(id.0)
                .bind::<Text, _>(&work.status)
                .execute(connection)?;
                Ok(Changed::Applied(()))
            })
        })
        .await
    }
}

/// A pending or running work has no dead letter.
const CANCEL: &str = "
    WITH changed AS (
        UPDATE works SET
            status = 'cancelled', due_at = NULL, due_set_on = NULL, sent_at = NULL, version = version + 1, updated_on = now()
        WHERE id = $1
        RETURNING *
    ), logged AS (
        INSERT INTO events (work_id, generation, variable, status)
        SELECT id, generation, 'work/cancelled', status FROM changed
    ), counted AS (
        INSERT INTO stat_deltas (origin, was, status, works)
        SELECT origin, $2::work_status, status, 1 FROM changed
    )
    SELECT {WORK} FROM changed";

const RETRY: &str = "
    WITH changed AS (
        UPDATE works SET
            status = 'pending', generation = generation + 1, attempt = 1, failures = 0, lost_leases = 0,
            due_at = greatest(run_at, now()), due_set_on = NULL, sent_at = NULL, version = version + 1, updated_on = now()
        WHERE id = $1
        RETURNING *
    ), logged AS (
        INSERT INTO events (work_id, generation, variable, status)
        SELECT id, generation, 'work/redriven', status FROM changed
    ), counted AS (
        INSERT INTO stat_deltas (origin, was, status, works)
        SELECT origin, $2::work_status, status, 1 FROM changed
    ), forgotten AS (
        DELETE FROM dead_letters WHERE work_id = $1
    )
    SELECT {WORK} FROM changed";

/// Changes the row that is held by a statement which takes its id and its status.
fn changed(connection: &mut PgConnection, sql: &str, held: &WorkRow) -> std::result::Result<Changed<Work>, Failure> {
    let row: WorkRow = sql_query(sql.replace("{WORK}", WORK))
        .bind::<BigInt, _>(held.id)
        .bind::<Text, _>(&held.status)
        .get_result(connection)?;
    Ok(Changed::Applied(row.into_work()?))
}

/// The row of a work that is not deleted, nobody else's until the transaction ends.
fn hold(connection: &mut PgConnection, id: WorkId) -> std::result::Result<Option<Held>, Failure> {
    let held: Option<Held> = sql_query(format!(
        "SELECT {WORK}, generation FROM works WHERE id = $1 AND deleted_on IS NULL FOR NO KEY UPDATE"
    ))
    .bind::<BigInt, _>(id.0)
    .get_result(connection)
    .optional()?;
    Ok(held)
}
