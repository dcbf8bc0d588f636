//! Shapes that several files here share: rows as the driver reads them, input as the JSON that statements take, and
//! the two inserts that follow changes of works.

use std::time::Duration;

use diesel::connection::DefaultLoadingMode;
use diesel::query_dsl::methods::LoadQuery;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, QueryableByName, RunQueryDsl, sql_query};

use crate::domain::{Json, Progress, Run, Status, Work, WorkId};
use crate::store::{Claim, DueAt};

/// Now, as this store keeps time: Unix milliseconds.
pub(super) const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// The columns of a [`WorkRow`].
pub(super) const WORK: &str =
    "id, kind, work_code, message_id, args, created_on, updated_on, status, result, version, run_at,
     unique_key, error, attempt, progress, note";

/// A work, before its texts are parsed.
#[derive(QueryableByName)]
pub(super) struct WorkRow {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Text)]
    args: String,
    #[diesel(sql_type = BigInt)]
    created_on: i64,
    #[diesel(sql_type = BigInt)]
    updated_on: i64,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<Text>)]
    result: Option<String>,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    run_at: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    unique_key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    error: Option<String>,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Nullable<Integer>)]
    progress: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    note: Option<String>,
}

impl WorkRow {
    /// Its `message_id` and kind.
    pub(super) fn key(&self) -> (String, String) {
        (self.message_id.clone(), self.kind.clone())
    }

    /// The bytes of its arguments and its result.
    pub(super) fn bytes(&self) -> usize {
        self.args.len() + self.result.as_ref().map_or(0, String::len)
    }

    pub(super) fn into_work(self) -> QueryResult<Work> {
        let status = parsed("status", self.status.parse())?;
        let shown = self.progress.filter(|_| status == Status::Running);
        Ok(Work {
            id: WorkId(self.id),
            work_code: parsed("work_code", self.work_code.parse())?,
            kind: parsed("kind", self.kind.parse())?,
            args: Json::accepted(self.args),
            created_on: unix_seconds(self.created_on),
            updated_on: unix_seconds(self.updated_on),
            status,
            result: self.result.map(Json::accepted),
            version: self.version,
            run_at: self.run_at.map(unix_seconds),
            unique: self
                .unique_key
                .map(|unique| parsed("unique_key", unique.try_into()))
                .transpose()?,
            error: self.error,
            attempt: self.attempt,
            progress: shown.map(|percent| Progress {
                percent: u8::try_from(percent).unwrap_or_default(),
                note: self.note.unwrap_or_default(),
            }),
        })
    }
}

/// The columns of a [`ClaimRow`].
pub(super) const CLAIM: &str =
    "id, kind, message_id, work_code, args, generation, attempt, failures, lost_leases, due_at";

/// A pending work with what a dispatcher needs of it.
#[derive(QueryableByName)]
pub(super) struct ClaimRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Text)]
    args: String,
    #[diesel(sql_type = Integer)]
    generation: i32,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Integer)]
    failures: i32,
    #[diesel(sql_type = Integer)]
    lost_leases: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    due_at: Option<i64>,
}

impl ClaimRow {
    pub(super) fn into_claim(self) -> QueryResult<Claim> {
        Ok(Claim {
            id: WorkId(self.id),
            message_id: parsed("message_id", self.message_id.try_into())?,
            work_code: parsed("work_code", self.work_code.parse())?,
            kind: parsed("kind", self.kind.parse())?,
            args: Json::accepted(self.args),
            run: Run {
                generation: self.generation,
                attempt: self.attempt,
            },
            failures: self.failures,
            lost_leases: self.lost_leases,
            due_at: DueAt(self.due_at.unwrap_or_default()),
        })
    }
}

/// A row's number.
#[derive(QueryableByName)]
pub(super) struct Id {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
}

/// Reads rows until they have this many bytes; the last one may exceed it.
pub(super) fn load_within<'conn, 'query: 'conn, R>(
    connection: &'conn mut SqliteConnection,
    query: impl LoadQuery<'query, SqliteConnection, R, DefaultLoadingMode> + 'conn,
    bytes: usize,
    size: impl Fn(&R) -> usize,
) -> QueryResult<Vec<R>>
where
    R: 'conn,
{
    let (mut rows, mut before) = (Vec::new(), 0);
    for row in query.load_iter::<R, DefaultLoadingMode>(connection)? {
        let row = row?;
        before += size(&row);
        rows.push(row);
        if before >= bytes {
            break;
        }
    }
    Ok(rows)
}

/// A number of rows.
#[derive(QueryableByName)]
pub(super) struct Count {
    #[diesel(sql_type = BigInt)]
    pub(super) count: i64,
}

/// Input rows as the one parameter that `json_each` takes apart: how SQLite takes many rows in one statement.
pub(super) fn json_rows(rows: impl IntoIterator<Item = serde_json::Value>) -> String {
    serde_json::Value::Array(rows.into_iter().collect()).to_string()
}

/// A value of a row. The schema lets only values through that parse, unless it was changed by hand.
pub(super) fn parsed<T, E>(column: &str, value: Result<T, E>) -> QueryResult<T> {
    value
        .map_err(|_| diesel::result::Error::DeserializationError(format!("unexpected {column} in the database").into()))
}

/// A moment as the domain counts it.
pub(super) fn unix_seconds(moment: i64) -> i64 {
    moment.div_euclid(1000)
}

/// A duration as the database counts it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Inserts events, given as `[work, generation, variable, value]`; each takes the status of its work as it is now.
pub(super) fn insert_events(connection: &mut SqliteConnection, input: String) -> QueryResult<()> {
    sql_query(
        "INSERT INTO events (work_id, generation, variable, value, status)
         SELECT works.id, value ->> 1, value ->> 2, value ->> 3, status
         FROM json_each(?) JOIN works ON works.id = value ->> 0 ORDER BY key",
    )
    .bind::<Text, _>(input)
    .execute(connection)
    .map(|_| ())
}

/// Inserts the letters of works, given as `[work, reason]`; the work's row has the rest.
pub(super) fn insert_dead_letters(connection: &mut SqliteConnection, input: String) -> QueryResult<()> {
    if input == "[]" {
        return Ok(());
    }
    sql_query(
        "INSERT INTO dead_letters (kind, work_id, generation, message_id, reason, attempts)
         SELECT works.kind, works.id, works.generation, works.message_id, input.value ->> 1, works.attempt
         FROM json_each(?) AS input JOIN works ON works.id = input.value ->> 0 WHERE true
         ON CONFLICT DO NOTHING",
    )
    .bind::<Text, _>(input)
    .execute(connection)
    .map(|_| ())
}
