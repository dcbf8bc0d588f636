//! The API keys. The file's one writer makes changes of them one after another.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{OptionalExtension as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::{Value, json};

use super::rows::{Count, NOW, parsed, unix_seconds};
use super::{SqliteStore, audit};
use crate::domain::{ApiKeyId, KeyDigest, KeyInfo, Principal, Scope, WorksPerDay};
use crate::store::access::count_by_key;
use crate::store::{ApiKeys, KeyCreated, KeyWorks, MOST_KEYS, NewKey, Result, WorksCounted};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
    #[diesel(sql_type = Text)]
    scopes: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    works_per_day: Option<i64>,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
    #[diesel(sql_type = Text)]
    created_by: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    revoked_on: Option<i64>,
}

const COLUMNS: &str = "id, name, digest, scopes, works_per_day, created_on, created_by, revoked_on";

/// The seconds since 1970.
const SECONDS: &str = "unixepoch()";

impl Row {
    fn into_key(self) -> QueryResult<(KeyDigest, KeyInfo)> {
        let digest = parsed("digest", <[u8; 32]>::try_from(self.digest.as_slice()))?;
        let key = KeyInfo {
            id: ApiKeyId(self.id),
            name: parsed("name", self.name.parse())?,
            scopes: parsed("scopes", self.scopes.parse())?,
            works_per_day: parsed(
                "works_per_day",
                self.works_per_day.map(WorksPerDay::try_from).transpose(),
            )?,
            created_on: unix_seconds(self.created_on),
            created_by: self.created_by,
            revoked_on: self.revoked_on.map(unix_seconds),
        };
        Ok((KeyDigest(digest), key))
    }
}

fn valid(connection: &mut SqliteConnection) -> QueryResult<Vec<(KeyDigest, KeyInfo)>> {
    let rows: Vec<Row> = sql_query(format!(
        "SELECT {COLUMNS} FROM api_keys WHERE revoked_on IS NULL ORDER BY id"
    ))
    .load(connection)?;
    rows.into_iter().map(Row::into_key).collect()
}

fn insert(connection: &mut SqliteConnection, by: &Principal, new: &NewKey) -> QueryResult<KeyInfo> {
    let row: Row = sql_query(format!(
        "INSERT INTO api_keys (name, digest, scopes, created_by, works_per_day) VALUES (?, ?, ?, ?, ?)
         RETURNING {COLUMNS}"
    ))
    .bind::<Text, _>(new.name.as_str())
    .bind::<Binary, _>(&new.digest.0[..])
    .bind::<Text, _>(new.scopes.to_string())
    .bind::<Text, _>(by.to_string())
    .bind::<Nullable<BigInt>, _>(new.works_per_day.map(i64::from))
    .get_result(connection)?;
    let (_, key) = row.into_key()?;
    audit::record(connection, by, "key.create", &format!("key/{}", key.id), &details(&key))?;
    Ok(key)
}

fn details(key: &KeyInfo) -> Value {
    let mut details = json!({"name": key.name, "scopes": key.scopes});
    if let Some(bound) = key.works_per_day {
        details["works_per_day"] = json!(bound);
    }
    details
}

/// Counts works of a key for this day, or changes nothing where they would be too many.
fn count(connection: &mut SqliteConnection, id: ApiKeyId, works: i64, most: WorksPerDay) -> QueryResult<bool> {
    // The bound belongs to the key for ever, so its row need not be read.
    let counted = sql_query(format!(
        "INSERT INTO key_works AS known (key_id, day, works)
         SELECT ?1, {SECONDS} / 86400, ?2 WHERE ?2 <= ?3
         ON CONFLICT (key_id) DO UPDATE SET
             day = excluded.day,
             works = excluded.works + CASE WHEN known.day = excluded.day THEN known.works ELSE 0 END
         WHERE excluded.works + CASE WHEN known.day = excluded.day THEN known.works ELSE 0 END <= ?3"
    ))
    .bind::<BigInt, _>(id.0)
    .bind::<BigInt, _>(works)
    .bind::<BigInt, _>(i64::from(most))
    .execute(connection)?;
    Ok(counted > 0)
}

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn create_key(&self, by: &Principal, new: &NewKey) -> Result<KeyCreated> {
        let (by, new) = (by.clone(), new.clone());
        self.write(move |connection| {
            let valid = valid(connection)?;
            if let Some((_, mine)) = valid.iter().find(|(digest, _)| *digest == new.digest) {
                return Ok(KeyCreated::Created(mine.clone()));
            }
            if valid.iter().any(|(_, key)| key.name == new.name) {
                return Ok(KeyCreated::NameTaken);
            }
            if valid.len() >= MOST_KEYS {
                return Ok(KeyCreated::TooMany);
            }
            insert(connection, &by, &new).map(KeyCreated::Created)
        })
        .await
    }

    async fn create_first_key(&self, by: &Principal, new: &NewKey) -> Result<bool> {
        let (by, new) = (by.clone(), new.clone());
        self.write(move |connection| {
            let valid = valid(connection)?;
            if valid.iter().any(|(digest, _)| *digest == new.digest) {
                return Ok(true);
            }
            let mut others = valid.iter();
            if others.any(|(_, key)| key.scopes.allow(&Scope::Admin) || key.name == new.name) {
                return Ok(false);
            }
            insert(connection, &by, &new).map(|_| true)
        })
        .await
    }

    async fn revoke_key(&self, by: &Principal, id: ApiKeyId) -> Result<Option<KeyInfo>> {
        let by = by.clone();
        self.write(move |connection| {
            let row: Option<Row> = sql_query(format!(
                "UPDATE api_keys SET revoked_on = {NOW} WHERE id = ? AND revoked_on IS NULL RETURNING {COLUMNS}"
            ))
            .bind::<BigInt, _>(id.0)
            .get_result(connection)
            .optional()?;
            let Some(row) = row else {
                let revoked: Option<Row> = sql_query(format!("SELECT {COLUMNS} FROM api_keys WHERE id = ?"))
                    .bind::<BigInt, _>(id.0)
                    .get_result(connection)
                    .optional()?;
                return revoked.map(|row| Ok(row.into_key()?.1)).transpose();
            };
            let (_, key) = row.into_key()?;
            audit::record(connection, &by, "key.revoke", &format!("key/{id}"), &details(&key))?;
            Ok(Some(key))
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<KeyInfo>> {
        self.read(|connection| {
            let rows: Vec<Row> = sql_query(format!(
                "SELECT {COLUMNS} FROM api_keys WHERE revoked_on IS NULL OR id IN (
                     SELECT id FROM api_keys WHERE revoked_on IS NOT NULL ORDER BY id DESC LIMIT {MOST_KEYS})
                 ORDER BY id"
            ))
            .load(connection)?;
            rows.into_iter().map(|row| Ok(row.into_key()?.1)).collect()
        })
        .await
    }

    async fn valid_keys(&self) -> Result<Vec<(KeyDigest, KeyInfo)>> {
        self.read(valid).await
    }

    async fn keys_revision(&self) -> Result<i64> {
        self.read(|connection| {
            // Rows stay, and each is revoked once.
            let revision: Count =
                sql_query("SELECT count(*) + count(revoked_on) AS count FROM api_keys").get_result(connection)?;
            Ok(revision.count)
        })
        .await
    }

    async fn count_works(&self, counts: &[KeyWorks]) -> Result<Vec<WorksCounted>> {
        let counts = counts.to_vec();
        self.write(move |connection| {
            let counted = count_by_key(&counts, |id, works, most| count(connection, id, works, most))?;
            if !counted.contains(&false) {
                return Ok(vec![WorksCounted::Within; counted.len()]);
            }
            let left: Count = sql_query(format!("SELECT 86400 - {SECONDS} % 86400 AS count")).get_result(connection)?;
            let next_day_in = Duration::from_secs(left.count.unsigned_abs());
            let told = |counted| match counted {
                true => WorksCounted::Within,
                false => WorksCounted::Beyond { next_day_in },
            };
            Ok(counted.into_iter().map(told).collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both databases have the same statement.
    #[tokio::test]
    async fn another_day_counts_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(path.to_str().unwrap(), 2, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let most = WorksPerDay::try_from(10).unwrap();
        let count = |works| {
            let works = KeyWorks {
                id: ApiKeyId(1),
                works,
                most,
            };
            let store = &store;
            async move { store.count_works(&[works]).await.unwrap()[0] }
        };
        for _ in 0..3 {
            assert_eq!(count(10).await, WorksCounted::Within);
            assert!(matches!(count(1).await, WorksCounted::Beyond { .. }));
            let yesterday =
                store.write(|connection| sql_query("UPDATE key_works SET day = day - 1").execute(connection));
            assert_eq!(yesterday.await.unwrap(), 1);
        }
    }
}
