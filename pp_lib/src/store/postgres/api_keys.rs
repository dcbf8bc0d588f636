//! The API keys. Changes of them take turns, so that bounds and the first key hold whoever asks at the same time.

use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::PgConnection;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Timestamptz};
use diesel::{Connection as _, OptionalExtension as _, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::{Value, json};

use super::failure::Failure;
use super::rows::{Count, parsed, unix_seconds};
use super::{PostgresStore, audit};
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
    #[diesel(sql_type = Timestamptz)]
    created_on: PgTimestamp,
    #[diesel(sql_type = Text)]
    created_by: String,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    revoked_on: Option<PgTimestamp>,
}

const COLUMNS: &str = "id, name, digest, scopes, works_per_day, created_on, created_by, revoked_on";

/// The seconds since 1970; `floor`, because a cast rounds.
const SECONDS: &str = "floor(extract(epoch FROM now()))::bigint";

impl Row {
    fn into_key(self) -> std::result::Result<(KeyDigest, KeyInfo), Failure> {
        let digest = parsed(self.id, <[u8; 32]>::try_from(self.digest.as_slice()))?;
        let key = KeyInfo {
            id: ApiKeyId(self.id),
            name: parsed(self.id, self.name.parse())?,
            scopes: parsed(self.id, self.scopes.parse())?,
            works_per_day: parsed(self.id, self.works_per_day.map(WorksPerDay::try_from).transpose())?,
            created_on: unix_seconds(self.created_on),
            created_by: self.created_by,
            revoked_on: self.revoked_on.map(unix_seconds),
        };
        Ok((KeyDigest(digest), key))
    }
}

/// Waits for its turn to change keys, until the transaction ends.
fn take_turn(connection: &mut PgConnection) -> std::result::Result<(), Failure> {
    sql_query("SELECT pg_advisory_xact_lock(hashtext('pp.api_keys'))").execute(connection)?;
    Ok(())
}

fn valid(connection: &mut PgConnection) -> std::result::Result<Vec<(KeyDigest, KeyInfo)>, Failure> {
    let rows: Vec<Row> = sql_query(format!(
        "SELECT {COLUMNS} FROM api_keys WHERE revoked_on IS NULL ORDER BY id"
    ))
    .load(connection)?;
    rows.into_iter().map(Row::into_key).collect()
}

fn insert(connection: &mut PgConnection, by: &Principal, new: &NewKey) -> std::result::Result<KeyInfo, Failure> {
    let row: Row = sql_query(format!(
        "INSERT INTO api_keys (name, digest, scopes, created_by, works_per_day) VALUES ($1, $2, $3, $4, $5)
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
fn count(
    connection: &mut PgConnection,
    id: ApiKeyId,
    works: i64,
    most: WorksPerDay,
) -> std::result::Result<bool, Failure> {
    // The bound belongs to the key for ever, so its row need not be read.
    let counted = sql_query(format!(
        "INSERT INTO key_works AS known (key_id, day, works)
         SELECT $1, {SECONDS} / 86400, $2 WHERE $2 <= $3
         ON CONFLICT (key_id) DO UPDATE SET
             day = excluded.day,
             works = excluded.works + CASE WHEN known.day = excluded.day THEN known.works ELSE 0 END
         WHERE excluded.works + CASE WHEN known.day = excluded.day THEN known.works ELSE 0 END <= $3"
    ))
    .bind::<BigInt, _>(id.0)
    .bind::<BigInt, _>(works)
    .bind::<BigInt, _>(i64::from(most))
    .execute(connection)?;
    Ok(counted > 0)
}

#[async_trait]
impl ApiKeys for PostgresStore {
    async fn create_key(&self, by: &Principal, new: &NewKey) -> Result<KeyCreated> {
        let (by, new) = (by.clone(), new.clone());
        self.run(move |connection| {
            connection.transaction(|connection| {
                take_turn(connection)?;
                let valid = valid(connection)?;
                // An earlier try, whose reply was lost, has made it.
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
        })
        .await
    }

    async fn create_first_key(&self, by: &Principal, new: &NewKey) -> Result<bool> {
        let (by, new) = (by.clone(), new.clone());
        self.run(move |connection| {
            connection.transaction(|connection| {
                take_turn(connection)?;
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
        })
        .await
    }

    async fn revoke_key(&self, by: &Principal, id: ApiKeyId) -> Result<Option<KeyInfo>> {
        let by = by.clone();
        self.run(move |connection| {
            connection.transaction(|connection| {
                take_turn(connection)?;
                let row: Option<Row> = sql_query(format!(
                    "UPDATE api_keys SET revoked_on = now() WHERE id = $1 AND revoked_on IS NULL RETURNING {COLUMNS}"
                ))
                .bind::<BigInt, _>(id.0)
                .get_result(connection)
                .optional()?;
                let Some(row) = row else {
                    let revoked: Option<Row> = sql_query(format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1"))
                        .bind::<BigInt, _>(id.0)
                        .get_result(connection)
                        .optional()?;
                    return revoked.map(|row| Ok(row.into_key()?.1)).transpose();
                };
                let (_, key) = row.into_key()?;
                audit::record(connection, &by, "key.revoke", &format!("key/{id}"), &details(&key))?;
                Ok(Some(key))
            })
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<KeyInfo>> {
        self.run(|connection| {
            let rows: Vec<Row> = sql_query(format!(
                "SELECT {COLUMNS} FROM api_keys WHERE revoked_on IS NULL OR id IN (
                    SELECT id FROM api_keys WHERE revoked_on IS NOT NULL ORDER BY id DESC LIMIT {MOST_KEYS}
                ) ORDER BY id"
            ))
            .load(connection)?;
            rows.into_iter().map(|row| Ok(row.into_key()?.1)).collect()
        })
        .await
    }

    async fn valid_keys(&self) -> Result<Vec<(KeyDigest, KeyInfo)>> {
        self.run(valid).await
    }

    async fn keys_revision(&self) -> Result<i64> {
        self.run(|connection| {
            // Rows stay, and each is revoked once.
            let revision: Count =
                sql_query("SELECT count(*) + count(revoked_on) AS count FROM api_keys").get_result(connection)?;
            Ok(revision.count)
        })
        .await
    }

    async fn count_works(&self, counts: &[KeyWorks]) -> Result<Vec<WorksCounted>> {
        let counts = counts.to_vec();
        self.run(move |connection| {
            connection.transaction(|connection| {
                let counted = count_by_key(&counts, |id, works, most| count(connection, id, works, most))?;
                if !counted.contains(&false) {
                    return Ok(vec![WorksCounted::Within; counted.len()]);
                }
                let left: Count =
                    sql_query(format!("SELECT 86400 - {SECONDS} % 86400 AS count")).get_result(connection)?;
                let next_day_in = Duration::from_secs(left.count.unsigned_abs());
                let told = |counted| match counted {
                    true => WorksCounted::Within,
                    false => WorksCounted::Beyond { next_day_in },
                };
                Ok(counted.into_iter().map(told).collect())
            })
        })
        .await
    }
}
