//! The keys of requests: begun, answered, let go, forgotten.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{OptionalExtension as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};

use super::SqliteStore;
use super::rows::{NOW, millis, parsed};
use crate::domain::PART_BYTES;
use crate::store::{Answer, Answered, Begin, Begun, IdempotencyKeys, RequestKey, Result};

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Binary)]
    fingerprint: Vec<u8>,
    #[diesel(sql_type = Text)]
    seed: String,
    #[diesel(sql_type = Nullable<Integer>)]
    status: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    headers: Option<String>,
    #[diesel(sql_type = Nullable<Binary>)]
    body: Option<Vec<u8>>,
}

impl KeyRow {
    fn answer(self) -> QueryResult<Option<Answer>> {
        let (Some(status), Some(headers), Some(body)) = (self.status, self.headers, self.body) else {
            return Ok(None);
        };
        Ok(Some(Answer {
            status: parsed("status", status.try_into())?,
            headers: parsed("headers", serde_json::from_str(&headers))?,
            body: body.into(),
        }))
    }
}

#[derive(QueryableByName)]
struct Seed {
    #[diesel(sql_type = Text)]
    seed: String,
}

#[async_trait]
impl IdempotencyKeys for SqliteStore {
    async fn begin(&self, requests: &[Begin], hold: Duration, keep: Duration) -> Result<Vec<Begun>> {
        let requests = requests.to_vec();
        self.write(move |connection| {
            let mut answered = 0;
            let begun = requests.iter().map(|request| {
                if answered >= PART_BYTES {
                    return Ok(Begun::InFlight);
                }
                let begun = begin(connection, request, hold, keep)?;
                if let Begun::Answered(answer) = &begun {
                    answered += answer.body.len();
                }
                Ok(begun)
            });
            begun.collect()
        })
        .await
    }

    async fn keep_answers(&self, answered: &[Answered]) -> Result<Vec<Option<Answer>>> {
        let answered = answered.to_vec();
        self.write(move |connection| answered.iter().map(|one| keep_answer(connection, one)).collect())
            .await
    }

    async fn release_key(&self, key: &RequestKey, seed: &str) -> Result<()> {
        let (key, seed) = (key.clone(), seed.to_owned());
        self.write(move |connection| {
            sql_query(format!(
                "UPDATE idempotency_keys SET held_until = {NOW}
                 WHERE scope = ? AND key = ? AND seed = ? AND status IS NULL"
            ))
            .bind::<Text, _>(&key.scope)
            .bind::<Text, _>(&key.key)
            .bind::<Text, _>(&seed)
            .execute(connection)
            .map(|_| ())
        })
        .await
    }

    async fn forget_expired(&self, limit: u16) -> Result<u64> {
        self.write(move |connection| {
            sql_query(format!(
                "DELETE FROM idempotency_keys WHERE rowid IN (
                     SELECT rowid FROM idempotency_keys WHERE expires_on <= {NOW} ORDER BY expires_on LIMIT ?)"
            ))
            .bind::<Integer, _>(i32::from(limit))
            .execute(connection)
            .map(|forgotten| forgotten as u64)
        })
        .await
    }
}

/// Takes a key that is new, has expired or was released. A released key keeps its seed. None is held longer than
/// `hold`, unless the clock was set back.
fn begin(connection: &mut SqliteConnection, request: &Begin, hold: Duration, keep: Duration) -> QueryResult<Begun> {
    let mine: Option<Seed> = sql_query(format!(
        "INSERT INTO idempotency_keys (scope, key, fingerprint, seed, held_until, expires_on)
         VALUES (?1, ?2, ?3, ?4, {NOW} + ?5, {NOW} + ?6)
         ON CONFLICT (scope, key) DO UPDATE SET
             fingerprint = excluded.fingerprint,
             seed = iif(expires_on <= {NOW}, excluded.seed, seed),
             held_until = excluded.held_until,
             expires_on = iif(expires_on <= {NOW}, excluded.expires_on, expires_on),
             status = NULL, headers = NULL, body = NULL
         WHERE expires_on <= {NOW}
            OR (status IS NULL AND fingerprint = excluded.fingerprint
                AND (held_until <= {NOW} OR held_until > {NOW} + ?5 OR seed = excluded.seed))
         RETURNING seed"
    ))
    .bind::<Text, _>(&request.key.scope)
    .bind::<Text, _>(&request.key.key)
    .bind::<Binary, _>(&request.fingerprint)
    .bind::<Text, _>(&request.seed)
    .bind::<BigInt, _>(millis(hold))
    .bind::<BigInt, _>(millis(keep))
    .load(connection)?
    .pop();
    if let Some(Seed { seed }) = mine {
        return Ok(Begun::Mine { seed });
    }
    match find(connection, &request.key)? {
        Some(row) if row.fingerprint != request.fingerprint => Ok(Begun::OtherRequest),
        Some(row) => Ok(row.answer()?.map_or(Begun::InFlight, Begun::Answered)),
        None => Ok(Begun::InFlight),
    }
}

fn keep_answer(connection: &mut SqliteConnection, answered: &Answered) -> QueryResult<Option<Answer>> {
    let Answered { key, seed, answer } = answered;
    let headers = serde_json::to_string(&answer.headers).unwrap_or_else(|_| unreachable!("pairs of texts are JSON"));
    sql_query(
        "UPDATE idempotency_keys SET status = ?, headers = ?, body = ?
         WHERE scope = ? AND key = ? AND seed = ? AND status IS NULL",
    )
    .bind::<Integer, _>(i32::from(answer.status))
    .bind::<Text, _>(headers)
    .bind::<Binary, _>(&answer.body[..])
    .bind::<Text, _>(&key.scope)
    .bind::<Text, _>(&key.key)
    .bind::<Text, _>(seed)
    .execute(connection)?;
    let row = find(connection, key)?.filter(|row| row.seed == *seed);
    row.map_or(Ok(None), KeyRow::answer)
}

fn find(connection: &mut SqliteConnection, key: &RequestKey) -> QueryResult<Option<KeyRow>> {
    sql_query("SELECT fingerprint, seed, status, headers, body FROM idempotency_keys WHERE scope = ? AND key = ?")
        .bind::<Text, _>(&key.scope)
        .bind::<Text, _>(&key.key)
        .get_result(connection)
        .optional()
}
