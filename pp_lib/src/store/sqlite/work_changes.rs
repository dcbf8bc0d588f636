//! Works as their owners change them: other arguments, cancelled, started over, or removed.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{OptionalExtension as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::SqliteStore;
use super::audit;
use super::deltas::{self, Moved};
use super::rows::{Id, NOW, WORK, WorkRow, insert_events, json_rows, millis, parsed};
use crate::domain::{Json, KindName, Principal, Status, Variable, Work, WorkId, value_of_args};
use crate::store::{Changed, Result, WorkChanges};

/// A row as a change finds it.
#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// A change of one work.
struct Change {
    /// The columns it sets, beside those that every change sets.
    set: String,
    /// The statuses it is for.
    allowed: fn(Status) -> bool,
    /// True if the work starts over, as its next generation.
    starts_over: bool,
    /// Its name in the audit.
    action: &'static str,
    /// Its event.
    variable: Variable,
    /// New arguments, of which the event tells.
    args: Option<Json>,
}

#[async_trait]
impl WorkChanges for SqliteStore {
    async fn update(
        &self,
        by: &Principal,
        id: WorkId,
        args: &Json,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>> {
        let pause = millis(pause);
        let update = Change {
            set: format!(
                "result = NULL, {START_OVER},
                 due_at = max(coalesce(run_at, 0), min({NOW} + {pause},
                     coalesce(iif(status = 'pending' AND sent_at IS NULL, due_at, NULL), {NOW} + {pause})))"
            ),
            allowed: |_| true,
            starts_over: true,
            action: "work.update",
            variable: Variable::WorkUpdated,
            args: Some(args.clone()),
        };
        self.change_work(by, id, version, update, WorkRow::into_work).await
    }

    async fn cancel(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        let cancel = Change {
            set: format!("status = 'cancelled', {NO_WAIT}"),
            allowed: |status| status.may_become(Status::Cancelled),
            starts_over: false,
            action: "work.cancel",
            variable: Variable::WorkCancelled,
            args: None,
        };
        self.change_work(by, id, version, cancel, WorkRow::into_work).await
    }

    async fn retry(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        let retry = Change {
            set: format!("{START_OVER}, due_at = max(coalesce(run_at, 0), {NOW})"),
            allowed: |status| matches!(status, Status::Failed | Status::Cancelled),
            starts_over: true,
            action: "work.retry",
            variable: Variable::WorkRedriven,
            args: None,
        };
        self.change_work(by, id, version, retry, WorkRow::into_work).await
    }

    async fn delete(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<()>> {
        let delete = Change {
            set: format!(
                "status = iif(status IN ('pending', 'running'), 'cancelled', status), {NO_WAIT}, deleted_on = {NOW}"
            ),
            allowed: |_| true,
            starts_over: false,
            action: "work.delete",
            variable: Variable::WorkCancelled,
            args: None,
        };
        self.change_work(by, id, version, delete, |_| Ok(())).await
    }
}

/// The columns of a work that is computed anew.
const START_OVER: &str = "status = 'pending', generation = generation + 1, attempt = 1, failures = 0, lost_leases = 0,
     lease_until = NULL, due_set_on = NULL, claim = NULL, worker = NULL, error = NULL";

/// The columns of a work that waits for nothing.
const NO_WAIT: &str = "due_at = NULL, lease_until = NULL, due_set_on = NULL, claim = NULL, worker = NULL";

impl SqliteStore {
    /// Changes a work that is at this version, if one is given, and in a status that allows it; tells of it in an event,
    /// to the audit and to the counters, and removes the work's letter.
    async fn change_work<T: Send + 'static>(
        &self,
        by: &Principal,
        id: WorkId,
        version: Option<i64>,
        change: Change,
        read: fn(WorkRow) -> QueryResult<T>,
    ) -> Result<Changed<T>> {
        let by = by.clone();
        self.write(move |connection| {
            let Some(held) = held(connection, id)? else {
                return Ok(Changed::Missing);
            };
            if version.is_some_and(|version| version != held.version) {
                return Ok(Changed::OtherVersion);
            }
            let was = parsed("status", held.status.parse())?;
            if !(change.allowed)(was) {
                return Ok(Changed::WrongStatus(was));
            }
            if change.starts_over && is_unique_held(connection, id)? {
                return Ok(Changed::UniqueHeld);
            }
            let changed: WorkRow = sql_query(format!(
                "UPDATE works SET {}, args = coalesce(?2, args), sent_at = NULL, version = version + 1,
                     updated_on = {NOW}
                 WHERE id = ?1 RETURNING {WORK}",
                change.set
            ))
            .bind::<BigInt, _>(id.0)
            .bind::<Nullable<Text>, _>(change.args.as_ref().map(Json::as_str))
            .get_result(connection)?;
            let generation = held.generation + i32::from(change.starts_over);
            let kind: KindName = parsed("kind", held.kind.parse())?;
            let value = change
                .args
                .as_ref()
                .map(|args| value_of_args(&kind, args))
                .unwrap_or_default();
            let event = json!([id, generation, change.variable.as_str(), value]);
            insert_events(connection, json_rows([event]))?;
            let details = json!({"version": held.version + 1});
            audit::record(connection, &by, change.action, &format!("work/{id}"), &details)?;
            deltas::record(connection, [Moved::from(was, id.0)])?;
            sql_query("DELETE FROM dead_letters WHERE work_id = ?")
                .bind::<BigInt, _>(id.0)
                .execute(connection)?;
            Ok(Changed::Applied(read(changed)?))
        })
        .await
    }
}

/// True if another work of the kind with this one's `unique` is unfinished.
fn is_unique_held(connection: &mut SqliteConnection, id: WorkId) -> QueryResult<bool> {
    let held: Option<Id> = sql_query(
        "SELECT other.id FROM works JOIN works AS other USING (kind, unique_key)
         WHERE works.id = ? AND other.id <> works.id AND other.status IN ('pending', 'running')",
    )
    .bind::<BigInt, _>(id.0)
    .get_result(connection)
    .optional()?;
    Ok(held.is_some())
}

/// The row of a work that is not deleted.
fn held(connection: &mut SqliteConnection, id: WorkId) -> QueryResult<Option<Held>> {
    sql_query("SELECT kind, generation, status, version FROM works WHERE id = ? AND deleted_on IS NULL")
        .bind::<BigInt, _>(id.0)
        .get_result(connection)
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AddUpTo, Origin, Run};
    use crate::runtime::{new_message_id, new_work_code};
    use crate::store::{Completion, Completions as _, DispatchRows as _, Guard, NewWork, Outcome, WorkRows as _};

    #[derive(QueryableByName)]
    struct Told {
        #[diesel(sql_type = BigInt)]
        work_id: i64,
        #[diesel(sql_type = Integer)]
        generation: i32,
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_end_of_a_work_is_told_as_of_its_last_generation() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let new = || NewWork {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Api),
            kind: KindName::default(),
            args: AddUpTo::MIN.args(),
            run_at: None,
            unique: None,
            notify: None,
        };
        let works = store.create_all(&[new(), new(), new()]).await.unwrap().unwrap();
        let claims = store.claim(&[], None, Duration::from_secs(30), 2).await.unwrap();
        let lease = Duration::from_secs(30);
        let outcomes = [Outcome::Done { result: Json::from(1) }, Outcome::running(lease)];
        let completions = claims.iter().zip(outcomes).map(|(claim, outcome)| Completion {
            message_id: claim.message_id.clone(),
            work_code: claim.work_code.clone(),
            args: Some(claim.args.clone()),
            guard: Guard::Pending(Run::FIRST),
            outcome,
        });
        store
            .complete(KindName::add_up_to(), &completions.collect::<Vec<_>>())
            .await
            .unwrap();
        for work in &works {
            assert_eq!(
                store.delete(&Principal::Open, work.id, None).await.unwrap(),
                Changed::Applied(())
            );
        }
        let told = store
            .read(|reader| {
                let told = "SELECT work_id, generation FROM events WHERE variable = 'work/cancelled' ORDER BY work_id";
                sql_query(told).load::<Told>(reader)
            })
            .await
            .unwrap();
        let told: Vec<(i64, i32)> = told.iter().map(|told| (told.work_id, told.generation)).collect();
        let expected: Vec<(i64, i32)> = works.iter().map(|work| (work.id.0, 1)).collect();
        assert_eq!(told, expected, "of the finished one as of the others");
    }
}
