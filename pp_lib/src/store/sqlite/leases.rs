//! Leases, for what holds one in every process, also in the only one.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Text};
use diesel::{RunQueryDsl as _, sql_query};

use super::SqliteStore;
use super::rows::{Count, NOW, millis};
use crate::store::{Leases, Result};

#[async_trait]
impl Leases for SqliteStore {
    async fn hold(&self, name: &str, holder: &str, hold: Duration) -> Result<bool> {
        let (name, holder, hold) = (name.to_owned(), holder.to_owned(), millis(hold));
        self.write(move |connection| {
            sql_query(format!(
                "DELETE FROM leases WHERE held_until < {NOW} - 86400000 AND name <> ?"
            ))
            .bind::<Text, _>(&name)
            .execute(connection)?;
            let held = sql_query(format!(
                "INSERT INTO leases (name, holder, held_until, set_on) VALUES (?, ?, {NOW} + ?, {NOW})
                 ON CONFLICT (name) DO UPDATE SET
                     holder = excluded.holder, held_until = excluded.held_until, set_on = excluded.set_on
                 WHERE leases.holder = excluded.holder OR leases.held_until < {NOW}"
            ))
            .bind::<Text, _>(name)
            .bind::<Text, _>(holder)
            .bind::<BigInt, _>(hold)
            .execute(connection)?;
            Ok(held > 0)
        })
        .await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<()> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.write(move |connection| {
            sql_query("DELETE FROM leases WHERE name = ? AND holder = ?")
                .bind::<Text, _>(name)
                .bind::<Text, _>(holder)
                .execute(connection)
                .map(drop)
        })
        .await
    }

    async fn held(&self, prefix: &str) -> Result<u64> {
        let prefix = prefix.to_owned();
        self.read(move |connection| {
            let held: Count = sql_query(format!(
                "SELECT count(*) AS count FROM leases WHERE substr(name, 1, length(?1)) = ?1 AND held_until > {NOW}"
            ))
            .bind::<Text, _>(prefix)
            .get_result(connection)?;
            Ok(u64::try_from(held.count).unwrap_or_default())
        })
        .await
    }
}
