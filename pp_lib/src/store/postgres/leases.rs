//! Leases, on the server's clock.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Text};
use diesel::{RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::rows::{Count, microseconds};
use crate::store::{Leases, Result};

#[async_trait]
impl Leases for PostgresStore {
    async fn hold(&self, name: &str, holder: &str, hold: Duration) -> Result<bool> {
        let (name, holder, hold) = (name.to_owned(), holder.to_owned(), microseconds(hold));
        self.run(move |connection| {
            let held = sql_query(
                "WITH forgotten AS (
                    DELETE FROM leases WHERE name = ANY(ARRAY(
                        SELECT name FROM leases WHERE held_until < clock_timestamp() - interval '1 day' AND name <> $1
                        FOR UPDATE SKIP LOCKED
                    ))
                )
                INSERT INTO leases (name, holder, held_until, set_on)
                SELECT $1, $2, now + $3 * interval '1 microsecond', now FROM clock_timestamp() AS now
                ON CONFLICT (name) DO UPDATE SET
                    holder = excluded.holder, held_until = excluded.held_until, set_on = excluded.set_on
                WHERE leases.holder = excluded.holder OR leases.held_until < clock_timestamp()",
            )
            .bind::<Text, _>(&name)
            .bind::<Text, _>(&holder)
            .bind::<BigInt, _>(hold)
            .execute(connection)?;
            Ok(held > 0)
        })
        .await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<()> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.run(move |connection| {
            sql_query("DELETE FROM leases WHERE name = $1 AND holder = $2")
                .bind::<Text, _>(&name)
                .bind::<Text, _>(&holder)
                .execute(connection)?;
            Ok(())
        })
        .await
    }

    async fn held(&self, prefix: &str) -> Result<u64> {
        let prefix = prefix.to_owned();
        self.run(move |connection| {
            let held: Count = sql_query(
                "SELECT count(*) AS count FROM leases WHERE starts_with(name, $1) AND held_until > clock_timestamp()",
            )
            .bind::<Text, _>(&prefix)
            .get_result(connection)?;
            Ok(u64::try_from(held.count).unwrap_or_default())
        })
        .await
    }
}
