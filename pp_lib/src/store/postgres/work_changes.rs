//! Works as their owners change them: other arguments, cancelled, started over, or removed.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::{Connection as _, OptionalExtension as _, QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::failure::Failure;
use super::rows::{WORK, WorkRow, microseconds, parsed};
use crate::domain::{Json, KindName, Principal, Status, Variable, Work, WorkId, value_of_args};
use crate::store::{Changed, Result, WorkChanges};

/// A row as a change finds it, held until the change is committed.
#[derive(QueryableByName)]
struct Held {
    #[diesel(embed)]
    work: WorkRow,
    #[diesel(sql_type = Integer)]
    generation: i32,
}

/// A change of one work.
struct Change<M> {
    /// The columns it sets, beside those that every change sets.
    set: String,
    /// The statuses it is for.
    allowed: fn(Status) -> bool,
    /// Its name in the audit.
    action: &'static str,
    /// Its event.
    variable: Variable,
    /// New arguments, of which the event tells.
    args: Option<Json>,
    /// True if an earlier try, which found the first, left the second behind. See [`PostgresStore::change_work`].
    mine: M,
}

/// The work as an earlier try of the same call found it.
struct Before {
    generation: i32,
    version: i64,
}

#[async_trait]
impl WorkChanges for PostgresStore {
    async fn update(
        &self,
        by: &Principal,
        id: WorkId,
        args: &Json,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>> {
        let (pause, args) = (microseconds(pause), args.clone());
        let wanted = args.clone();
        let update = Change {
            set: format!(
                "result = NULL, {START_OVER},
                due_at = greatest(run_at, least(now() + {pause} * interval '1 microsecond',
                    CASE WHEN status = 'pending' AND sent_at IS NULL THEN due_at END))"
            ),
            allowed: |_| true,
            action: "work.update",
            variable: Variable::WorkUpdated,
            args: Some(args),
            mine: move |before: &Before, now: Option<&Held>| {
                now.is_some_and(|now| now.generation == before.generation + 1 && now.work.args == wanted.as_str())
            },
        };
        self.change_work(by, id, version, update, read).await
    }

    async fn cancel(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        let cancel = Change {
            set: format!("status = 'cancelled', {NO_WAIT}"),
            allowed: |status| status.may_become(Status::Cancelled),
            action: "work.cancel",
            variable: Variable::WorkCancelled,
            args: None,
            mine: |before: &Before, now: Option<&Held>| {
                let cancelled = |now: &Held| now.work.status == Status::Cancelled.as_str();
                now.is_some_and(|now| now.work.version == before.version + 1 && cancelled(now))
            },
        };
        self.change_work(by, id, version, cancel, read).await
    }

    async fn retry(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        let retry = Change {
            set: format!("{START_OVER}, due_at = greatest(run_at, now())"),
            allowed: |status| matches!(status, Status::Failed | Status::Cancelled),
            action: "work.retry",
            variable: Variable::WorkRedriven,
            args: None,
            mine: |before: &Before, now: Option<&Held>| now.is_some_and(|now| now.generation == before.generation + 1),
        };
        self.change_work(by, id, version, retry, read).await
    }

    async fn delete(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<()>> {
        let delete = Change {
            set: format!(
                "status = CASE WHEN status IN ('pending', 'running') THEN 'cancelled' ELSE status END,
                {NO_WAIT}, deleted_on = now()"
            ),
            allowed: |_| true,
            action: "work.delete",
            variable: Variable::WorkCancelled,
            args: None,
            mine: |_: &Before, now: Option<&Held>| now.is_none(),
        };
        self.change_work(by, id, version, delete, |_| Ok(Some(()))).await
    }
}

/// The columns of a work that is computed anew.
const START_OVER: &str = "status = 'pending', generation = generation + 1, attempt = 1, failures = 0, lost_leases = 0,
    lease_until = NULL, due_set_on = NULL, claim = NULL, worker = NULL, error = NULL";

/// The columns of a work that waits for nothing.
const NO_WAIT: &str = "due_at = NULL, lease_until = NULL, due_set_on = NULL, claim = NULL, worker = NULL";

type Read<T> = fn(Option<WorkRow>) -> std::result::Result<Option<T>, Failure>;

fn read(row: Option<WorkRow>) -> std::result::Result<Option<Work>, Failure> {
    row.map(WorkRow::into_work).transpose()
}

impl PostgresStore {
    /// Changes a work that is at this version, if one is given, and in a status that allows it; tells of it in an event,
    /// to the audit and to the counters, and removes the work's letter.
    ///
    /// The row is held before its letter is looked for: a letter that a completion writes meanwhile would not be seen by
    /// a statement that waited for that completion. Where the reply to a commit is lost, the change remembers the row it
    /// found, and so knows its own doing when it is run again.
    async fn change_work<T, M>(
        &self,
        by: &Principal,
        id: WorkId,
        version: Option<i64>,
        change: Change<M>,
        read: Read<T>,
    ) -> Result<Changed<T>>
    where
        T: Send + 'static,
        M: Fn(&Before, Option<&Held>) -> bool + Send + Sync + 'static,
    {
        let by = by.to_string();
        // No work has these numbers.
        let (generation, found_version) = (AtomicI32::new(0), AtomicI64::new(0));
        self.run(move |connection| {
            let changed = connection.transaction(|connection| {
                let held = hold(connection, id)?;
                let before = Before {
                    generation: generation.load(Ordering::Relaxed),
                    version: found_version.load(Ordering::Relaxed),
                };
                if before.version > 0 && (change.mine)(&before, held.as_ref()) {
                    let row = held.map(|held| held.work);
                    return Ok(read(row)?.map_or(Changed::Missing, Changed::Applied));
                }
                let Some(held) = held else {
                    return Ok(Changed::Missing);
                };
                if version.is_some_and(|version| version != held.work.version) {
                    return Ok(Changed::OtherVersion);
                }
                let status = held.work.status()?;
                if !(change.allowed)(status) {
                    return Ok(Changed::WrongStatus(status));
                }
                generation.store(held.generation, Ordering::Relaxed);
                found_version.store(held.work.version, Ordering::Relaxed);
                let Change {
                    set,
                    action,
                    variable,
                    args,
                    ..
                } = &change;
                let kind: KindName = parsed(id.0, held.work.kind.parse())?;
                let value = args.as_ref().map(|args| value_of_args(&kind, args)).unwrap_or_default();
                let changed: WorkRow = sql_query(format!(
                    "WITH changed AS (
                        UPDATE works SET {set}, args = coalesce($3::json, args), sent_at = NULL,
                             version = version + 1, updated_on = now()
                        WHERE id = $1
                        RETURNING *
                    ), logged AS (
                        INSERT INTO events (work_id, generation, variable, value, status)
                        SELECT id, generation, '{variable}', $4, status FROM changed
                    ), counted AS (
                        INSERT INTO stat_deltas (kind, origin, was, status, works)
                        SELECT kind, origin, $2::work_status, CASE WHEN deleted_on IS NULL THEN status END, 1 FROM changed
                        WHERE deleted_on IS NOT NULL OR status <> $2::work_status
                    ), audited AS (
                        INSERT INTO audit (principal, action, subject, details)
                        SELECT $5, '{action}', 'work/' || id, json_build_object('version', version) FROM changed
                    ), forgotten AS (
                        DELETE FROM dead_letters WHERE work_id = $1
                    )
                    SELECT {WORK} FROM changed "
                ))
                .bind::<BigInt, _>(id.0)
                .bind::<Text, _>(&held.work.status)
                .bind::<Nullable<Text>, _>(args.as_ref().map(Json::as_str))
                .bind::<Text, _>(value.as_ref())
                .bind::<Text, _>(&by)
                .get_result(connection)?;
                Ok(read(Some(changed))?.map_or(Changed::Missing, Changed::Applied))
            });
            match changed {
                Err(Abort::UniqueHeld) => Ok(Changed::UniqueHeld),
                Err(Abort::Failed(failure)) => Err(failure),
                Ok(changed) => Ok(changed),
            }
        })
        .await
    }
}

/// The reason to roll back.
enum Abort {
    UniqueHeld,
    Failed(Failure),
}

impl From<Failure> for Abort {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        match is_unique_held(&error) {
            true => Self::UniqueHeld,
            false => Self::Failed(error.into()),
        }
    }
}

/// True if a work would be unfinished beside another one with its `unique`.
pub(super) fn is_unique_held(error: &Error) -> bool {
    let Error::DatabaseError(DatabaseErrorKind::UniqueViolation, information) = error else {
        return false;
    };
    information.constraint_name() == Some("works_unique")
}

/// The row of a work that is not deleted, locked until the transaction ends.
fn hold(connection: &mut PgConnection, id: WorkId) -> std::result::Result<Option<Held>, Failure> {
    let held: Option<Held> = sql_query(format!(
        "SELECT {WORK}, generation FROM works WHERE id = $1 AND deleted_on IS NULL FOR NO KEY UPDATE"
    ))
    .bind::<BigInt, _>(id.0)
    .get_result(connection)
    .optional()?;
    Ok(held)
}
