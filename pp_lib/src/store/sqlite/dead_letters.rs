//! Dead letters: messages kept, letters listed, and both run again or forgotten.

use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::SqliteStore;
use super::audit;
use super::deltas::{self, Moved};
use super::rows::{Count, NOW, insert_events, json_rows, millis, parsed, unix_seconds};
use crate::domain::{DeadLetter, DeadLetterId, KindName, LetterGroup, Principal, Status, Variable, WorkId};
use crate::store::access::details_of;
use crate::store::{DeadLetters, DeadMessage, DueAt, LetterFilter, REDRIVEN_BYTES, Redriven, Result, Selection};

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
    #[diesel(sql_type = Nullable<Binary>)]
    body: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    body_bytes: Option<i64>,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    demanded_on: Option<i64>,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
    #[diesel(sql_type = Bool)]
    redriven: bool,
}

impl LetterRow {
    fn into_letter(self) -> QueryResult<DeadLetter> {
        let work_code = self.work_code.map(|code| parsed("work_code", code.parse()));
        Ok(DeadLetter {
            id: DeadLetterId(self.id),
            kind: parsed("kind", self.kind.parse())?,
            work_id: self.work_id.map(WorkId),
            work_code: work_code.transpose()?,
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
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    error: String,
    #[diesel(sql_type = BigInt)]
    letters: i64,
    #[diesel(sql_type = BigInt)]
    messages: i64,
    #[diesel(sql_type = BigInt)]
    oldest_on: i64,
    #[diesel(sql_type = BigInt)]
    newest_on: i64,
}

impl GroupRow {
    fn into_group(self) -> QueryResult<LetterGroup> {
        Ok(LetterGroup {
            kind: parsed("kind", self.kind.parse())?,
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
    #[diesel(sql_type = Binary)]
    body: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    properties: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    due_at: i64,
}

#[derive(QueryableByName)]
struct Revived {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    generation: i32,
}

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn add_dead_letters(&self, messages: &[DeadMessage]) -> Result<()> {
        let messages = messages.to_vec();
        self.write(move |connection| {
            messages.iter().try_for_each(|message| {
                sql_query(format!(
                    "INSERT INTO dead_letters (kind, message_id, body, properties, reason) VALUES (?, ?, ?, ?, ?)
                     ON CONFLICT (message_id, kind) WHERE work_id IS NULL DO UPDATE SET
                         body = excluded.body, properties = excluded.properties, reason = excluded.reason,
                         created_on = {NOW}, due_at = NULL"
                ))
                .bind::<Text, _>(message.kind.as_str())
                .bind::<Text, _>(message.message_id.as_str())
                .bind::<Binary, _>(&message.body[..])
                .bind::<Nullable<Binary>, _>(message.properties.as_deref())
                .bind::<Text, _>(&message.reason)
                .execute(connection)
                .map(|_| ())
            })
        })
        .await
    }

    async fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>> {
        let (these, wanted) = matching(filter);
        self.read(move |connection| {
            // Of a blob that is empty, SQLite's `substr` makes NULL.
            let rows: Vec<LetterRow> = sql_query(format!(
                "SELECT dead_letters.id, dead_letters.kind, work_id, works.work_code, dead_letters.message_id,
                        coalesce(substr(body, 1, ?2), body) AS body, length(body) AS body_bytes,
                        reason, attempts, works.created_on AS demanded_on, dead_letters.created_on,
                        dead_letters.due_at IS NOT NULL AS redriven
                 FROM dead_letters LEFT JOIN works ON works.id = work_id
                 WHERE {these} AND dead_letters.id < ?3 ORDER BY dead_letters.id DESC LIMIT ?4"
            ))
            .bind::<Text, _>(&wanted)
            .bind::<Integer, _>(i32::try_from(DeadLetter::SHOWN_BYTES).unwrap_or(i32::MAX))
            .bind::<BigInt, _>(before.map_or(i64::MAX, |id| id.0))
            .bind::<Integer, _>(i32::from(limit))
            .load(connection)?;
            rows.into_iter().map(LetterRow::into_letter).collect()
        })
        .await
    }

    async fn letter_groups(&self, kind: Option<&KindName>, limit: u16) -> Result<Vec<LetterGroup>> {
        let kind = kind.cloned();
        self.read(move |connection| {
            let rows: Vec<GroupRow> = sql_query(format!(
                "SELECT kind, error, count(*) AS letters, sum(work_id IS NULL) AS messages,
                        min(created_on) AS oldest_on, max(created_on) AS newest_on
                 FROM (SELECT kind, substr(reason, 1, {}) AS error, work_id, created_on FROM dead_letters
                     WHERE due_at IS NULL AND (?1 IS NULL OR kind = ?1) ORDER BY id DESC LIMIT {})
                 GROUP BY kind, error ORDER BY letters DESC, newest_on DESC, kind, error LIMIT ?2",
                LetterGroup::ERROR_CHARACTERS,
                LetterGroup::MOST_LETTERS
            ))
            .bind::<Nullable<Text>, _>(kind.as_ref().map(KindName::as_str))
            .bind::<Integer, _>(i32::from(limit))
            .load(connection)?;
            rows.into_iter().map(GroupRow::into_group).collect()
        })
        .await
    }

    async fn redrive(&self, by: &Principal, which: &Selection) -> Result<u64> {
        let (by, which) = (by.clone(), which.clone());
        self.write(move |connection| {
            let redriven = redrive(connection, &which)?;
            record(connection, &by, "deadletter.redrive", &which, redriven)?;
            Ok(redriven)
        })
        .await
    }

    async fn count_redrivable(&self, which: &Selection) -> Result<u64> {
        let (these, wanted) = selected(which);
        self.read(move |connection| {
            // Of works with one `unique` one begins.
            let letters: Count = sql_query(format!(
                "SELECT count(DISTINCT CASE WHEN failed.unique_key IS NULL THEN json_array(dead_letters.id)
                        ELSE json_array(failed.kind, failed.unique_key) END) AS count
                 FROM dead_letters LEFT JOIN works AS failed ON failed.id = dead_letters.work_id
                     AND failed.generation = dead_letters.generation
                     AND failed.status = 'failed' AND failed.deleted_on IS NULL
                 WHERE {these} AND dead_letters.id NOT IN ({UNIQUE_HELD}) AND dead_letters.due_at IS NULL
                     AND (dead_letters.work_id IS NULL OR failed.id IS NOT NULL)"
            ))
            .bind::<Text, _>(wanted)
            .get_result(connection)?;
            Ok(u64::try_from(letters.count).unwrap_or_default())
        })
        .await
    }

    async fn count_letters(&self, which: &Selection) -> Result<u64> {
        let (these, wanted) = selected(which);
        self.count(these, wanted).await
    }

    async fn drop_letters(&self, by: &Principal, which: &Selection) -> Result<u64> {
        let (by, which) = (by.clone(), which.clone());
        self.write(move |connection| {
            let (these, wanted) = selected(&which);
            let dropped = sql_query(format!("DELETE FROM dead_letters WHERE {these}"))
                .bind::<Text, _>(wanted)
                .execute(connection)? as u64;
            record(connection, &by, "deadletter.drop", &which, dropped)?;
            Ok(dropped)
        })
        .await
    }

    async fn claim_redriven(&self, hold: Duration, limit: u16) -> Result<Vec<Redriven>> {
        self.write(move |connection| {
            let rows: Vec<RedrivenRow> = sql_query(format!(
                "UPDATE dead_letters SET due_at = {NOW} + ?1 WHERE id IN (
                     SELECT id FROM (
                         SELECT id, sum(bytes) OVER (ORDER BY due_at, id) - bytes AS before FROM (
                             SELECT id, due_at, length(body) AS bytes FROM dead_letters
                             -- None waits longer than a claim, unless the clock was set back.
                             WHERE due_at IS NOT NULL AND (due_at <= {NOW} OR due_at > {NOW} + ?1)
                             ORDER BY due_at LIMIT ?2))
                     WHERE before < ?3)
                 RETURNING id, kind, message_id, body, properties, due_at"
            ))
            .bind::<BigInt, _>(millis(hold))
            .bind::<Integer, _>(i32::from(limit))
            .bind::<BigInt, _>(REDRIVEN_BYTES)
            .load(connection)?;
            let redriven = |row: RedrivenRow| {
                Ok(Redriven {
                    id: DeadLetterId(row.id),
                    kind: parsed("kind", row.kind.parse())?,
                    message_id: parsed("message_id", row.message_id.try_into())?,
                    properties: row.properties.map(Into::into),
                    body: row.body.into(),
                    due_at: DueAt(row.due_at),
                })
            };
            rows.into_iter().map(redriven).collect()
        })
        .await
    }

    async fn end_redriven(&self, sent: &[Redriven]) -> Result<()> {
        let sent = json_rows(sent.iter().map(|sent| json!([sent.id, sent.due_at.0])));
        self.write(move |connection| {
            sql_query(
                "DELETE FROM dead_letters WHERE EXISTS (
                     SELECT 1 FROM json_each(?) AS input
                     WHERE dead_letters.id = input.value ->> 0 AND dead_letters.due_at = input.value ->> 1)",
            )
            .bind::<Text, _>(sent)
            .execute(connection)
            .map(|_| ())
        })
        .await
    }
}

impl SqliteStore {
    /// The number of letters for which a condition holds that takes one parameter.
    async fn count(&self, condition: String, parameter: String) -> Result<u64> {
        self.read(move |connection| {
            let letters: Count = sql_query(format!("SELECT count(*) AS count FROM dead_letters WHERE {condition}"))
                .bind::<Text, _>(parameter)
                .get_result(connection)?;
            Ok(u64::try_from(letters.count).unwrap_or_default())
        })
        .await
    }
}

/// Tells the audit of a change of letters, unless there were none.
fn record(
    connection: &mut SqliteConnection,
    by: &Principal,
    action: &str,
    which: &Selection,
    count: u64,
) -> QueryResult<()> {
    if count == 0 {
        return Ok(());
    }
    let mut details = details_of(which);
    details.insert("count".to_owned(), count.into());
    audit::record(connection, by, action, "deadletter", &details.into())
}

/// Letters of failed works whose `unique` belongs to an unfinished work.
const UNIQUE_HELD: &str = "
    SELECT letter.id FROM dead_letters AS letter
    JOIN works ON works.id = letter.work_id AND works.generation = letter.generation
    JOIN works AS other ON other.kind = works.kind AND other.unique_key = works.unique_key
    WHERE works.status = 'failed' AND works.deleted_on IS NULL AND other.status IN ('pending', 'running')";

/// Works first, then the letters that have nothing left to say: those of works, and of none that moved on meanwhile.
fn redrive(connection: &mut SqliteConnection, which: &Selection) -> QueryResult<u64> {
    let (these, wanted) = selected(which);
    let these = &format!("{these} AND dead_letters.id NOT IN ({UNIQUE_HELD})");
    let revived: Vec<Revived> = sql_query(format!(
        "UPDATE works SET status = 'pending', generation = works.generation + 1, attempt = 1,
                failures = 0, lost_leases = 0, error = NULL, due_at = {NOW}, due_set_on = NULL, sent_at = NULL,
                version = version + 1, updated_on = {NOW}
         FROM (SELECT failed.id, failed.unique_key,
                   row_number() OVER (PARTITION BY failed.kind, failed.unique_key ORDER BY failed.id) AS place
               FROM (SELECT work_id, generation FROM dead_letters WHERE {these}) AS letter
               JOIN works AS failed ON failed.id = letter.work_id AND failed.generation = letter.generation
               WHERE failed.status = 'failed' AND failed.deleted_on IS NULL) AS chosen
         WHERE works.id = chosen.id AND (chosen.unique_key IS NULL OR chosen.place = 1)
         RETURNING works.id, works.generation"
    ))
    .bind::<Text, _>(&wanted)
    .load(connection)?;
    let events = revived
        .iter()
        .map(|row| json!([row.id, row.generation, Variable::WorkRedriven.as_str(), ""]));
    insert_events(connection, json_rows(events))?;
    deltas::record(
        connection,
        revived.iter().map(|row| Moved::from(Status::Failed, row.id)),
    )?;
    sql_query(format!(
        "DELETE FROM dead_letters WHERE {these} AND work_id IS NOT NULL"
    ))
    .bind::<Text, _>(&wanted)
    .execute(connection)?;
    let marked = sql_query(format!(
        "UPDATE dead_letters SET due_at = {NOW} WHERE {these} AND work_id IS NULL AND due_at IS NULL"
    ))
    .bind::<Text, _>(&wanted)
    .execute(connection)?;
    Ok((revived.len() + marked) as u64)
}

/// The condition for a selection, and the one parameter `?1` that it takes.
fn selected(which: &Selection) -> (String, String) {
    match which {
        Selection::Ids(ids) => (
            "dead_letters.id IN (SELECT value FROM json_each(?1))".to_owned(),
            json_rows(ids.iter().map(|id| json!(id))),
        ),
        Selection::Matching(filter) => matching(filter),
    }
}

/// The same for the letters that match.
fn matching(filter: &LetterFilter) -> (String, String) {
    let LetterFilter { kind, error } = filter;
    let mut condition = "?1 IS NOT NULL".to_owned();
    if kind.is_some() {
        condition += " AND dead_letters.kind = ?1 ->> 'kind'";
    }
    if error.is_some() {
        condition += " AND substr(dead_letters.reason, 1, length(?1 ->> 'error')) = ?1 ->> 'error'";
    }
    (condition, json!({"kind": kind, "error": error}).to_string())
}
