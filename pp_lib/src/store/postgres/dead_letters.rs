//! Dead letters: messages kept, letters listed, and both run again or forgotten.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Integer, Nullable, Text, Timestamptz};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::Value;

use super::PostgresStore;
use super::audit;
use super::failure::Failure;
use super::prepared::Prepared;
use super::rows::{
    Count, column, from_unix_microseconds, microseconds, parsed, unix_microseconds, unix_seconds, without_nul,
};
use super::work_changes::is_unique_held;
use crate::domain::{DeadLetter, DeadLetterId, KindName, LetterGroup, Principal, WorkId};
use crate::store::access::details_of;
use crate::store::{DeadLetters, DeadMessage, DueAt, LetterFilter, REDRIVEN_BYTES, Redriven, Result, Selection};

/// Letters that one statement changes or counts: few enough to finish well within the statement timeout.
const AT_ONCE: usize = 2_000;

/// The condition for the letters of kind `$1` whose reason begins with `$2`. NULL stands for any.
const MATCHING: &str = "($1 IS NULL OR letter.kind = $1) AND ($2 IS NULL OR starts_with(letter.reason, $2))";

#[derive(QueryableByName)]
struct LetterRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    work_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    work_code: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    message_id: Option<String>,
    #[diesel(sql_type = Nullable<Bytea>)]
    body: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    body_bytes: Option<i64>,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    demanded_on: Option<PgTimestamp>,
    #[diesel(sql_type = Timestamptz)]
    created_on: PgTimestamp,
    #[diesel(sql_type = Bool)]
    redriven: bool,
}

impl LetterRow {
    fn into_letter(self) -> std::result::Result<DeadLetter, Failure> {
        let work_code = self.work_code.map(|code| parsed(self.id, code.parse())).transpose()?;
        Ok(DeadLetter {
            id: DeadLetterId(self.id),
            kind: parsed(self.id, self.kind.parse())?,
            work_id: self.work_id.map(WorkId),
            work_code,
            message_id: self.message_id,
            body: self.body.map(|body| String::from_utf8_lossy(&body).into_owned()),
            body_bytes: self.body_bytes,
            reason: self.reason,
            attempts: self.attempts,
            demanded_on: self.demanded_on.map(unix_seconds),
            created_on: unix_seconds(self.created_on),
            redriven: self.redriven,
        })
    }
}

#[derive(QueryableByName)]
struct GroupRow {
    #[diesel(sql_type = BigInt)]
    newest_id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    error: String,
    #[diesel(sql_type = BigInt)]
    letters: i64,
    #[diesel(sql_type = BigInt)]
    messages: i64,
    #[diesel(sql_type = Timestamptz)]
    oldest_on: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    newest_on: PgTimestamp,
}

impl GroupRow {
    fn into_group(self) -> std::result::Result<LetterGroup, Failure> {
        Ok(LetterGroup {
            kind: parsed(self.newest_id, self.kind.parse())?,
            error: self.error,
            letters: self.letters,
            messages: self.messages,
            oldest_on: unix_seconds(self.oldest_on),
            newest_on: unix_seconds(self.newest_on),
        })
    }
}

#[derive(QueryableByName)]
struct RedrivenRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Bytea)]
    body: Vec<u8>,
    #[diesel(sql_type = Nullable<Bytea>)]
    properties: Option<Vec<u8>>,
    #[diesel(sql_type = Timestamptz)]
    due_at: PgTimestamp,
}

/// Letters of works with one `unique`, or of all without one.
#[derive(QueryableByName)]
struct RedrivableRow {
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    unique_key: Option<String>,
    #[diesel(sql_type = BigInt)]
    letters: i64,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[async_trait]
impl DeadLetters for PostgresStore {
    async fn add_dead_letters(&self, messages: &[DeadMessage]) -> Result<()> {
        // One for each, and sorted.
        let messages: BTreeMap<(&str, &str), &DeadMessage> = messages
            .iter()
            .map(|message| ((message.message_id.as_str(), message.kind.as_str()), message))
            .collect();
        let messages: Vec<DeadMessage> = messages.into_values().cloned().collect();
        self.run(move |connection| {
            sql_query(
                "INSERT INTO dead_letters (kind, message_id, body, reason, properties)
                SELECT * FROM unnest($1, $2, $3, $4, $5)
                ON CONFLICT (message_id, kind) WHERE work_id IS NULL DO UPDATE SET
                    body = excluded.body, properties = excluded.properties, reason = excluded.reason, created_on = now(), due_at = NULL",
            )
            .bind::<Array<Text>, _>(column(&messages, |message| message.kind.as_str()))
            .bind::<Array<Text>, _>(column(&messages, |message| message.message_id.as_str()))
            .bind::<Array<Bytea>, _>(column(&messages, |message| &message.body[..]))
            .bind::<Array<Text>, _>(column(&messages, |message| without_nul(&message.reason)))
            .bind::<Array<Nullable<Bytea>>, _>(column(&messages, |message| message.properties.as_deref()))
            .execute(connection)?;
            Ok(())
        })
        .await
    }

    async fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>> {
        let filter = filter.clone();
        let sql = format!(
            "SELECT letter.id, letter.kind, letter.work_id, works.work_code, letter.message_id,
                substring(letter.body FROM 1 FOR {}) AS body, octet_length(letter.body)::bigint AS body_bytes,
                letter.reason, letter.attempts, works.created_on AS demanded_on, letter.created_on,
                letter.due_at IS NOT NULL AS redriven
            FROM dead_letters AS letter LEFT JOIN works ON works.id = letter.work_id
            WHERE {MATCHING} AND ($3 IS NULL OR letter.id < $3)
            ORDER BY letter.id DESC LIMIT $4",
            DeadLetter::SHOWN_BYTES
        );
        self.run(move |connection| {
            let rows: Vec<LetterRow> = sql_query(&sql)
                .bind::<Nullable<Text>, _>(filter.kind.as_ref().map(KindName::as_str))
                .bind::<Nullable<Text>, _>(filter.error.as_deref().map(without_nul))
                .bind::<Nullable<BigInt>, _>(before.map(|id| id.0))
                .bind::<BigInt, _>(i64::from(limit))
                .load(connection)?;
            rows.into_iter().map(LetterRow::into_letter).collect()
        })
        .await
    }

    async fn letter_groups(&self, kind: Option<&KindName>, limit: u16) -> Result<Vec<LetterGroup>> {
        let kind = kind.cloned();
        let sql = format!(
            "SELECT max(id) AS newest_id, kind, error, count(*) AS letters,
                count(*) FILTER (WHERE work_id IS NULL) AS messages,
                min(created_on) AS oldest_on, max(created_on) AS newest_on
            FROM (
                SELECT id, kind, left(reason, {}) AS error, work_id, created_on FROM dead_letters
                WHERE due_at IS NULL AND ($1 IS NULL OR kind = $1) ORDER BY id DESC LIMIT {}
            ) AS letter
            GROUP BY kind, error ORDER BY letters DESC, newest_on DESC, kind, error LIMIT $2",
            LetterGroup::ERROR_CHARACTERS,
            LetterGroup::MOST_LETTERS
        );
        self.run(move |connection| {
            let rows: Vec<GroupRow> = sql_query(&sql)
                .bind::<Nullable<Text>, _>(kind.as_ref().map(KindName::as_str))
                .bind::<BigInt, _>(i64::from(limit))
                .load(connection)?;
            rows.into_iter().map(GroupRow::into_group).collect()
        })
        .await
    }

    async fn redrive(&self, by: &Principal, which: &Selection) -> Result<u64> {
        // A letter or work that is locked is being changed; that change goes first.
        self.in_parts(
            Some(("deadletter.redrive", by)),
            which,
            "WITH picked AS MATERIALIZED (
                SELECT id, work_id, generation FROM dead_letters
                WHERE id = ANY($1) AND due_at IS NULL
                FOR UPDATE SKIP LOCKED
            ), failed AS MATERIALIZED (
                SELECT works.id, picked.id AS letter,
                    row_number() OVER (PARTITION BY works.kind, works.unique_key ORDER BY works.id) AS place
                FROM picked
                JOIN works ON works.id = picked.work_id AND works.generation = picked.generation
                WHERE works.status = 'failed' AND works.deleted_on IS NULL
            ), held AS MATERIALIZED (
                SELECT works.id, failed.letter FROM failed JOIN works USING (id)
                WHERE works.status = 'failed' AND works.deleted_on IS NULL
                    -- At most one work with a `unique` may be unfinished.
                    AND (works.unique_key IS NULL OR place = 1 AND NOT EXISTS (
                        SELECT FROM works AS other
                        WHERE other.kind = works.kind AND other.unique_key = works.unique_key
                            AND other.status IN ('pending', 'running')
                    ))
                FOR NO KEY UPDATE OF works SKIP LOCKED
            ), revived AS (
                UPDATE works SET
                    status = 'pending', generation = works.generation + 1, attempt = 1,
                    failures = 0, lost_leases = 0, error = NULL, due_at = now(), due_set_on = NULL, sent_at = NULL,
                    version = version + 1, updated_on = now()
                FROM held WHERE works.id = held.id
                RETURNING works.id, works.kind, works.generation, works.origin, works.status
            ), logged AS (
                INSERT INTO events (work_id, generation, variable, status)
                SELECT id, generation, 'work/redriven', status FROM revived
            ), counted AS (
                INSERT INTO stat_deltas (kind, origin, was, status, works)
                SELECT kind, origin, 'failed', status, count(*) FROM revived GROUP BY kind, origin, status
            ), ended AS (
                DELETE FROM dead_letters USING picked
                WHERE dead_letters.id = picked.id AND picked.work_id IS NOT NULL
                    AND (picked.id IN (SELECT letter FROM held) OR picked.id NOT IN (SELECT letter FROM failed))
            ), marked AS (
                UPDATE dead_letters SET due_at = now()
                FROM picked WHERE dead_letters.id = picked.id AND picked.work_id IS NULL
                RETURNING dead_letters.id
            )
            SELECT (SELECT count(*) FROM revived) + (SELECT count(*) FROM marked) AS count",
        )
        .await
    }

    async fn count_redrivable(&self, which: &Selection) -> Result<u64> {
        let (mut letters, mut uniques) = (0, HashSet::new());
        for some in self.parts_of(which).await? {
            let rows: Vec<RedrivableRow> = self
                .run(move |connection| {
                    let rows = sql_query(
                        "SELECT works.kind, works.unique_key, count(*) AS letters
                        FROM dead_letters AS letter LEFT JOIN works ON works.id = letter.work_id
                        WHERE letter.id = ANY($1) AND letter.due_at IS NULL AND (letter.work_id IS NULL
                            OR works.generation = letter.generation AND works.status = 'failed'
                                AND works.deleted_on IS NULL)
                            AND (works.unique_key IS NULL OR NOT EXISTS (
                                SELECT FROM works AS other
                                WHERE other.kind = works.kind AND other.unique_key = works.unique_key
                                    AND other.status IN ('pending', 'running')
                            ))
                        GROUP BY works.kind, works.unique_key",
                    );
                    Ok(rows.bind::<Array<BigInt>, _>(&some).load(connection)?)
                })
                .await?;
            for row in rows {
                match row.unique_key {
                    None => letters += u64::try_from(row.letters).unwrap_or_default(),
                    // One of these works begins, also where their letters are in several parts.
                    Some(unique) => letters += u64::from(uniques.insert((row.kind, unique))),
                }
            }
        }
        Ok(letters)
    }

    async fn count_letters(&self, which: &Selection) -> Result<u64> {
        let count = "SELECT count(*) AS count FROM dead_letters WHERE id = ANY($1)";
        self.in_parts(None, which, count).await
    }

    async fn drop_letters(&self, by: &Principal, which: &Selection) -> Result<u64> {
        self.in_parts(
            Some(("deadletter.drop", by)),
            which,
            "WITH held AS MATERIALIZED (
                SELECT id FROM dead_letters WHERE id = ANY($1) ORDER BY message_id COLLATE \"C\", id FOR UPDATE
            ), dropped AS (
                DELETE FROM dead_letters USING held WHERE dead_letters.id = held.id RETURNING held.id
            )
            SELECT count(*) AS count FROM dropped",
        )
        .await
    }

    async fn claim_redriven(&self, hold: Duration, limit: u16) -> Result<Vec<Redriven>> {
        let hold = microseconds(hold);
        self.run(move |connection| {
            let statement = sql_query(
                "WITH held AS MATERIALIZED (
                    SELECT id, due_at, octet_length(body) AS bytes FROM dead_letters
                    -- None waits longer than a claim, unless the clock was set back.
                    WHERE due_at <= now() OR due_at > clock_timestamp() + $1 * interval '1 microsecond'
                    ORDER BY due_at LIMIT $2
                    FOR UPDATE SKIP LOCKED
                ), sized AS (
                    SELECT id, sum(bytes) OVER (ORDER BY due_at, id) - bytes AS before FROM held
                )
                UPDATE dead_letters SET due_at = now() + $1 * interval '1 microsecond'
                WHERE id = ANY(ARRAY(SELECT id FROM sized WHERE before < $3))
                RETURNING id, kind, message_id, body, properties, due_at",
            )
            .bind::<BigInt, _>(hold)
            .bind::<BigInt, _>(i64::from(limit))
            .bind::<BigInt, _>(REDRIVEN_BYTES);
            let rows: Vec<RedrivenRow> = Prepared(statement).load(connection)?;
            let redriven = |row: RedrivenRow| {
                Ok(Redriven {
                    id: DeadLetterId(row.id),
                    kind: parsed(row.id, row.kind.parse())?,
                    message_id: parsed(row.id, row.message_id.try_into())?,
                    properties: row.properties.map(Into::into),
                    body: row.body.into(),
                    due_at: DueAt(unix_microseconds(row.due_at)),
                })
            };
            rows.into_iter().map(redriven).collect()
        })
        .await
    }

    async fn end_redriven(&self, sent: &[Redriven]) -> Result<()> {
        let ids = column(sent, |sent| sent.id.0);
        let due = column(sent, |sent| from_unix_microseconds(sent.due_at.0));
        self.run(move |connection| {
            sql_query(
                // Waits for locks: a claim may hold these for a moment without taking them.
                "WITH held AS MATERIALIZED (
                    SELECT dead_letters.id FROM unnest($1, $2) AS sent (id, due_at)
                    JOIN dead_letters USING (id, due_at)
                    ORDER BY dead_letters.message_id COLLATE \"C\", dead_letters.id FOR UPDATE OF dead_letters
                )
                DELETE FROM dead_letters USING held WHERE dead_letters.id = held.id",
            )
            .bind::<Array<BigInt>, _>(&ids)
            .bind::<Array<Timestamptz>, _>(&due)
            .execute(connection)?;
            Ok(())
        })
        .await
    }
}

impl PostgresStore {
    /// Runs a statement that takes ids of letters and returns a number. Large selections are split; the result is the sum.
    /// A change has its name in the audit, and who makes it: each part that changes something is a row there.
    async fn in_parts(
        &self,
        change: Option<(&'static str, &Principal)>,
        which: &Selection,
        sql: &'static str,
    ) -> Result<u64> {
        let mut total = 0;
        for some in self.parts_of(which).await? {
            let change = change.map(|(action, by)| (action, by.clone(), details_of(which)));
            let count = self
                .run(move |connection| {
                    connection.transaction(|connection| {
                        let count = sql_query(sql).bind::<Array<BigInt>, _>(&some).get_result(connection);
                        // Another work with the same `unique` began meanwhile, which the next try sees.
                        let count: Count = count.map_err(|error| match is_unique_held(&error) {
                            true => Failure::Busy(error.to_string()),
                            false => error.into(),
                        })?;
                        if let Some((action, by, details)) = change.as_ref().filter(|_| count.count > 0) {
                            let mut details = details.clone();
                            details.insert("count".to_owned(), count.count.into());
                            audit::record(connection, by, action, "deadletter", &Value::from(details))?;
                        }
                        Ok(count.count)
                    })
                })
                .await?;
            total += u64::try_from(count).unwrap_or_default();
        }
        Ok(total)
    }

    /// The ids of selected letters, in parts for one statement each.
    async fn parts_of(&self, which: &Selection) -> Result<Vec<Vec<i64>>> {
        let mut ids: Vec<i64> = match which {
            Selection::Ids(ids) => ids.iter().map(|id| id.0).collect(),
            Selection::Matching(filter) => self.matching_ids(filter).await?,
        };
        ids.sort_unstable();
        ids.dedup();
        Ok(ids.chunks(AT_ONCE).map(<[i64]>::to_vec).collect())
    }

    async fn matching_ids(&self, filter: &LetterFilter) -> Result<Vec<i64>> {
        let filter = filter.clone();
        let ids = self
            .run(move |connection| {
                let ids: Vec<Id> = sql_query(format!("SELECT id FROM dead_letters AS letter WHERE {MATCHING}"))
                    .bind::<Nullable<Text>, _>(filter.kind.as_ref().map(KindName::as_str))
                    .bind::<Nullable<Text>, _>(filter.error.as_deref().map(without_nul))
                    .load(connection)?;
                Ok(ids)
            })
            .await?;
        Ok(ids.into_iter().map(|row| row.id).collect())
    }
}
