//! Works as their owners change them: another bound, or the end.

use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Integer, Nullable};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::dispatch::microseconds;
use super::failure::Failure;
use super::work_rows::{COLUMNS, Row};
use crate::domain::{AddUpTo, Work, WorkId};
use crate::store::{Changed, Result, WorkChanges};

/// A row's number.
#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    #[allow(dead_code, reason = "that there is a row is what is asked")]
    id: i64,
}

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
        let sql = format!(
            "WITH updated AS (
                UPDATE works SET
                    add_up_to = $2, status = 'pending', result = NULL,
                    generation = generation + 1, attempt = 1, lost_leases = 0,
                    due_at = greatest(run_at, least(now() + $4 * interval '1 microsecond',
                        CASE WHEN status = 'pending' AND sent_at IS NULL THEN due_at END)),
                    sent_at = NULL, version = version + 1, updated_on = now()
                WHERE id = $1 AND deleted_on IS NULL AND ($3 IS NULL OR version = $3)
                RETURNING *
            ), logged AS (
                INSERT INTO events (work_id, generation, variable, value)
                SELECT id, generation, 'work/updated', add_up_to::text FROM updated
            ), forgotten AS (
                DELETE FROM dead_letters WHERE work_id IN (SELECT id FROM updated)
            )
            SELECT {COLUMNS} FROM updated"
        );
        self.run(move |connection| {
            let updated: Option<Row> = sql_query(&sql)
                .bind::<BigInt, _>(id.0)
                .bind::<Integer, _>(add_up_to.get())
                .bind::<Nullable<BigInt>, _>(version)
                .bind::<BigInt, _>(pause)
                .load(connection)?
                .pop();
            match updated {
                Some(row) => Ok(Changed::Applied(row.into_work()?)),
                None => unchanged(connection, id),
            }
        })
        .await
    }

    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>> {
        self.run(move |connection| {
            let deleted: Vec<Found> = sql_query(
                "WITH deleted AS (
                    UPDATE works SET
                        status = CASE WHEN status IN ('pending', 'running') THEN 'cancelled' ELSE status END,
                        due_at = NULL, sent_at = NULL, deleted_on = now(), version = version + 1, updated_on = now()
                    WHERE id = $1 AND deleted_on IS NULL AND ($2 IS NULL OR version = $2)
                    RETURNING id, generation, status
                ), logged AS (
                    INSERT INTO events (work_id, generation, variable)
                    SELECT id, generation, 'work/cancelled' FROM deleted WHERE status = 'cancelled'
                ), forgotten AS (
                    DELETE FROM dead_letters WHERE work_id IN (SELECT id FROM deleted)
                )
                SELECT id FROM deleted",
            )
            .bind::<BigInt, _>(id.0)
            .bind::<Nullable<BigInt>, _>(version)
            .load(connection)?;
            match deleted.is_empty() {
                false => Ok(Changed::Applied(())),
                true => unchanged(connection, id),
            }
        })
        .await
    }
}

/// Why a change found nothing to change.
fn unchanged<T>(connection: &mut PgConnection, id: WorkId) -> std::result::Result<Changed<T>, Failure> {
    let present: Vec<Found> = sql_query("SELECT id FROM works WHERE id = $1 AND deleted_on IS NULL")
        .bind::<BigInt, _>(id.0)
        .load(connection)?;
    Ok(if present.is_empty() {
        Changed::Missing
    } else {
        Changed::OtherVersion
    })
}
