//! The keys of requests: begun, answered, let go, forgotten.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{Array, BigInt, Bytea, Integer, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::PostgresStore;
use super::failure::Failure;
use super::rows::{column, microseconds, sorted, within};
use crate::domain::PART_BYTES;
use crate::store::{Answer, Answered, Begin, Begun, IdempotencyKeys, RequestKey, Result};

#[derive(QueryableByName)]
struct Mine {
    #[diesel(sql_type = Text)]
    scope: String,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Text)]
    seed: String,
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Text)]
    scope: String,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Bytea)]
    fingerprint: Vec<u8>,
    #[diesel(sql_type = Text)]
    seed: String,
    #[diesel(sql_type = Nullable<Integer>)]
    status: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    headers: Option<String>,
    #[diesel(sql_type = Nullable<Bytea>)]
    body: Option<Vec<u8>>,
}

impl KeyRow {
    fn answer(&self) -> std::result::Result<Option<Answer>, Failure> {
        let (Some(status), Some(headers), Some(body)) = (self.status, &self.headers, &self.body) else {
            return Ok(None);
        };
        let unknown =
            || Failure::Unreadable("the answer of an idempotency key is not one that this program writes".into());
        Ok(Some(Answer {
            status: u16::try_from(status).map_err(|_| unknown())?,
            headers: serde_json::from_str(headers).map_err(|_| unknown())?,
            body: body.clone().into(),
        }))
    }
}

type Rows = HashMap<(String, String), KeyRow>;

#[async_trait]
impl IdempotencyKeys for PostgresStore {
    async fn begin(&self, requests: &[Begin], hold: Duration, keep: Duration) -> Result<Vec<Begun>> {
        let mut requests: Vec<(usize, Begin)> = requests.iter().cloned().enumerate().collect();
        requests.sort_unstable_by(|(_, one), (_, other)| one.key.cmp(&other.key));
        let (hold, keep) = (microseconds(hold), microseconds(keep));
        let mut begun = self
            .run(move |connection| {
                let mine: Vec<Mine> = sql_query(BEGIN)
                    .bind::<Array<Text>, _>(column(&requests, |(_, request)| request.key.scope.clone()))
                    .bind::<Array<Text>, _>(column(&requests, |(_, request)| request.key.key.clone()))
                    .bind::<Array<Bytea>, _>(column(&requests, |(_, request)| request.fingerprint.clone()))
                    .bind::<Array<Text>, _>(column(&requests, |(_, request)| request.seed.clone()))
                    .bind::<BigInt, _>(hold)
                    .bind::<BigInt, _>(keep)
                    .load(connection)?;
                let mut mine: HashMap<(String, String), String> =
                    mine.into_iter().map(|row| ((row.scope, row.key), row.seed)).collect();
                let of = |request: &Begin| (request.key.scope.clone(), request.key.key.clone());
                let others = requests.iter().map(|(_, request)| of(request));
                let others = others.filter(|key| !mine.contains_key(key)).collect();
                let bytes = "coalesce(octet_length(body), 0)";
                let others = present(connection, &within(PART_BYTES, bytes, PRESENT, ""), others)?;
                let mut begun = Vec::with_capacity(requests.len());
                for (index, request) in &requests {
                    let key = of(request);
                    let state = match (mine.remove(&key), others.get(&key)) {
                        (Some(seed), _) => Begun::Mine { seed },
                        (None, Some(row)) if row.fingerprint != request.fingerprint => Begun::OtherRequest,
                        (None, Some(row)) => row.answer()?.map_or(Begun::InFlight, Begun::Answered),
                        // Forgotten in this very moment, or beyond the bytes of one look: the next one tells.
                        (None, None) => Begun::InFlight,
                    };
                    begun.push((*index, state));
                }
                Ok(begun)
            })
            .await?;
        begun.sort_unstable_by_key(|(index, _)| *index);
        Ok(begun.into_iter().map(|(_, begun)| begun).collect())
    }

    async fn keep_answers(&self, answered: &[Answered]) -> Result<Vec<Option<Answer>>> {
        let rows = sorted(answered, |one| &one.key);
        let kept = self
            .run(move |connection| {
                sql_query(
                    "WITH held AS MATERIALIZED (
                        SELECT scope, key, input.status, input.headers, input.body
                        FROM unnest($1, $2, $3, $4, $5, $6) AS input (scope, key, seed, status, headers, body)
                        JOIN idempotency_keys AS present USING (scope, key, seed)
                        WHERE present.status IS NULL
                        ORDER BY present.scope, present.key
                        FOR NO KEY UPDATE OF present
                    )
                    UPDATE idempotency_keys AS kept
                    SET status = held.status, headers = held.headers, body = held.body
                    FROM held WHERE kept.scope = held.scope AND kept.key = held.key",
                )
                .bind::<Array<Text>, _>(column(&rows, |one| one.key.scope.as_str()))
                .bind::<Array<Text>, _>(column(&rows, |one| one.key.key.as_str()))
                .bind::<Array<Text>, _>(column(&rows, |one| one.seed.as_str()))
                .bind::<Array<Integer>, _>(column(&rows, |one| i32::from(one.answer.status)))
                .bind::<Array<Text>, _>(column(&rows, |one| headers_text(&one.answer)))
                .bind::<Array<Bytea>, _>(column(&rows, |one| &one.answer.body[..]))
                .execute(connection)?;
                let keys = column(&rows, |one| (one.key.scope.clone(), one.key.key.clone()));
                present(connection, PRESENT, keys)?
                    .into_iter()
                    .map(|(key, row)| Ok((key, (row.answer()?, row.seed))))
                    .collect::<std::result::Result<HashMap<_, _>, Failure>>()
            })
            .await?;
        let counts = |one: &Answered| {
            let (answer, seed) = kept.get(&(one.key.scope.clone(), one.key.key.clone()))?;
            answer.clone().filter(|_| *seed == one.seed)
        };
        Ok(answered.iter().map(counts).collect())
    }

    async fn release_key(&self, key: &RequestKey, seed: &str) -> Result<()> {
        let (key, seed) = (key.clone(), seed.to_owned());
        self.run(move |connection| {
            sql_query(
                "UPDATE idempotency_keys SET held_until = now()
                WHERE scope = $1 AND key = $2 AND seed = $3 AND status IS NULL",
            )
            .bind::<Text, _>(&key.scope)
            .bind::<Text, _>(&key.key)
            .bind::<Text, _>(&seed)
            .execute(connection)?;
            Ok(())
        })
        .await
    }

    async fn forget_expired(&self, limit: u16) -> Result<u64> {
        self.run(move |connection| {
            let forgotten = sql_query(
                "WITH expired AS MATERIALIZED (
                    SELECT scope, key FROM idempotency_keys WHERE expires_on <= now()
                    ORDER BY expires_on LIMIT $1 FOR UPDATE SKIP LOCKED
                )
                DELETE FROM idempotency_keys AS forgotten USING expired
                WHERE forgotten.scope = expired.scope AND forgotten.key = expired.key",
            )
            .bind::<BigInt, _>(i64::from(limit))
            .execute(connection)?;
            Ok(forgotten as u64)
        })
        .await
    }
}

/// Takes a key that is new, has expired or was released, or that this very call began in a try whose reply was lost. A
/// released key keeps its seed. None is held longer than `hold`, unless the clock was set back.
const BEGIN: &str = "
    INSERT INTO idempotency_keys AS held (scope, key, fingerprint, seed, held_until, expires_on)
    SELECT scope, key, fingerprint, seed, now() + $5 * interval '1 microsecond', now() + $6 * interval '1 microsecond'
    FROM unnest($1, $2, $3, $4) AS input (scope, key, fingerprint, seed)
    ON CONFLICT (scope, key) DO UPDATE SET
        fingerprint = excluded.fingerprint,
        seed = CASE WHEN held.expires_on <= now() THEN excluded.seed ELSE held.seed END,
        held_until = excluded.held_until,
        expires_on = CASE WHEN held.expires_on <= now() THEN excluded.expires_on ELSE held.expires_on END,
        status = NULL, headers = NULL, body = NULL
    WHERE held.expires_on <= now()
        OR (held.status IS NULL AND held.fingerprint = excluded.fingerprint
            AND (held.held_until <= now() OR held.seed = excluded.seed
                OR held.held_until > clock_timestamp() + $5 * interval '1 microsecond'))
    RETURNING scope, key, seed";

fn headers_text(answer: &Answer) -> String {
    serde_json::to_string(&answer.headers).unwrap_or_else(|_| unreachable!("pairs of texts are JSON"))
}

const PRESENT: &str = "SELECT fingerprint, scope, key, seed, status, headers, body
    FROM unnest($1, $2) AS asked (scope, key) JOIN idempotency_keys USING (scope, key)";

fn present(
    connection: &mut diesel::pg::PgConnection,
    select: &str,
    keys: Vec<(String, String)>,
) -> std::result::Result<Rows, Failure> {
    if keys.is_empty() {
        return Ok(Rows::new());
    }
    let (scopes, keys): (Vec<String>, Vec<String>) = keys.into_iter().unzip();
    let rows: Vec<KeyRow> = sql_query(select)
        .bind::<Array<Text>, _>(scopes)
        .bind::<Array<Text>, _>(keys)
        .load(connection)?;
    let by_key = |row: KeyRow| ((row.scope.clone(), row.key.clone()), row);
    Ok(rows.into_iter().map(by_key).collect())
}
