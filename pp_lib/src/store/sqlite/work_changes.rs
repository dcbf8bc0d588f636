//! Works as their owners change them: another bound, cancelled, started over, or removed.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{OptionalExtension as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::SqliteStore;
use super::deltas::{self, Moved};
use super::rows::{NOW, WORK, WorkRow, insert_events, json_rows, millis, parsed};
use crate::domain::{AddUpTo, Status, Variable, Work, WorkId};
use crate::store::{Changed, Result, WorkChanges};

/// A row as a change finds it.
#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

#[async_trait]
impl WorkChanges for SqliteStore {
    async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>> {
        self.write(move |connection| {
            let Some(held) = held(connection, id)? else {
                return Ok(Changed::Missing);
            };
            if version.is_some_and(|version| version != held.version) {
                return Ok(Changed::OtherVersion);
            }
            let updated: WorkRow = sql_query(format!(
                "UPDATE works SET
                     add_up_to = ?1, status = 'pending', result = NULL,
                     generation = generation + 1, attempt = 1, failures = 0, lost_leases = 0, due_set_on = NULL,
                     due_at = max(coalesce(run_at, 0), min({NOW} + ?2,
                         coalesce(iif(status = 'pending' AND sent_at IS NULL, due_at, NULL), {NOW} + ?2))),
                     sent_at = NULL, version = version + 1, updated_on = {NOW}
                 WHERE id = ?3
                 RETURNING {WORK}"
            ))
            .bind::<Integer, _>(add_up_to.get())
            .bind::<BigInt, _>(millis(pause))
            .bind::<BigInt, _>(id.0)
            .get_result(connection)?;
            let generation = held.generation + 1;
            tell(
                connection,
                id,
                generation,
                Variable::WorkUpdated,
                &add_up_to.to_string(),
            )?;
            deltas::record(connection, [held.moved(id)?])?;
            forget_letters(connection, id)?;
            Ok(Changed::Applied(updated.into_work()?))
        })
        .await
    }

    async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        self.write(move |connection| {
            let Some(held) = held(connection, id)? else {
                return Ok(Changed::Missing);
            };
            if version.is_some_and(|version| version != held.version) {
                return Ok(Changed::OtherVersion);
            }
            let was = held.status()?;
            if !was.may_become(Status::Cancelled) {
                return Ok(Changed::WrongStatus(was));
            }
            let cancelled: WorkRow = sql_query(format!(
                "UPDATE works SET
                     status = 'cancelled', due_at = NULL, due_set_on = NULL, sent_at = NULL,
                     version = version + 1, updated_on = {NOW}
                 WHERE id = ? RETURNING {WORK}"
            ))
            .bind::<BigInt, _>(id.0)
            .get_result(connection)?;
            tell(connection, id, held.generation, Variable::WorkCancelled, "")?;
            deltas::record(connection, [held.moved(id)?])?;
            Ok(Changed::Applied(cancelled.into_work()?))
        })
        .await
    }

    async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>> {
        self.write(move |connection| {
            let Some(held) = held(connection, id)? else {
                return Ok(Changed::Missing);
            };
            if version.is_some_and(|version| version != held.version) {
                return Ok(Changed::OtherVersion);
            }
            let was = held.status()?;
            if !matches!(was, Status::Failed | Status::Cancelled) {
                return Ok(Changed::WrongStatus(was));
            }
            let retried: WorkRow = sql_query(format!(
                "UPDATE works SET
                     status = 'pending', generation = generation + 1, attempt = 1, failures = 0, lost_leases = 0,
                     due_at = max(coalesce(run_at, 0), {NOW}), due_set_on = NULL, sent_at = NULL,
                     version = version + 1, updated_on = {NOW}
                 WHERE id = ? RETURNING {WORK}"
            ))
            .bind::<BigInt, _>(id.0)
            .get_result(connection)?;
            tell(connection, id, held.generation + 1, Variable::WorkRedriven, "")?;
            deltas::record(connection, [held.moved(id)?])?;
            forget_letters(connection, id)?;
            Ok(Changed::Applied(retried.into_work()?))
        })
        .await
    }

    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>> {
        self.write(move |connection| {
            let Some(held) = held(connection, id)? else {
                return Ok(Changed::Missing);
            };
            if version.is_some_and(|version| version != held.version) {
                return Ok(Changed::OtherVersion);
            }
            sql_query(format!(
                "UPDATE works SET
                     status = iif(status IN ('pending', 'running'), 'cancelled', status),
                     due_at = NULL, sent_at = NULL, deleted_on = {NOW}, version = version + 1, updated_on = {NOW}
                 WHERE id = ?"
            ))
            .bind::<BigInt, _>(id.0)
            .execute(connection)?;
            tell(connection, id, held.generation, Variable::WorkCancelled, "")?;
            deltas::record(connection, [held.moved(id)?])?;
            forget_letters(connection, id)?;
            Ok(Changed::Applied(()))
        })
        .await
    }
}

impl Held {
    fn status(&self) -> QueryResult<Status> {
        parsed("status", self.status.parse())
    }

    fn moved(&self, id: WorkId) -> QueryResult<Moved> {
        Ok(Moved::from(self.status()?, id.0))
    }
}

/// The row of a work that is not deleted.
fn held(connection: &mut SqliteConnection, id: WorkId) -> QueryResult<Option<Held>> {
    sql_query("SELECT generation, status, version FROM works WHERE id = ? AND deleted_on IS NULL")
        .bind::<BigInt, _>(id.0)
        .get_result(connection)
        .optional()
}

fn tell(
    connection: &mut SqliteConnection,
    id: WorkId,
    generation: i32,
    variable: Variable,
    value: &str,
) -> QueryResult<()> {
    let event = json!([id, generation, variable.as_str(), value]);
    insert_events(connection, json_rows([event]))
}

fn forget_letters(connection: &mut SqliteConnection, id: WorkId) -> QueryResult<()> {
    sql_query("DELETE FROM dead_letters WHERE work_id = ?")
        .bind::<BigInt, _>(id.0)
        .execute(connection)
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Origin, Run};
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
            add_up_to: AddUpTo::MIN,
            run_at: None,
        };
        let works = store.create_all(&[new(), new(), new()]).await.unwrap().unwrap();
        let claims = store.claim(None, Duration::from_secs(30), 2).await.unwrap();
        let lease = Duration::from_secs(30);
        let outcomes = [Outcome::Done { result: 1 }, Outcome::Running { lease }];
        let completions = claims.iter().zip(outcomes).map(|(claim, outcome)| Completion {
            message_id: claim.message_id.clone(),
            work_code: claim.work_code.clone(),
            add_up_to: claim.add_up_to,
            guard: Guard::Pending(Run::FIRST),
            outcome,
        });
        store.complete(&completions.collect::<Vec<_>>()).await.unwrap();
        for work in &works {
            assert_eq!(store.delete(work.id, None).await.unwrap(), Changed::Applied(()));
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
