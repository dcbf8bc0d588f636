//! Shapes that several files here share: rows as the driver reads them, input as the columns it takes, and the
//! conversions of times. Statements are elsewhere.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, SmallInt, Text, Timestamptz};

use super::failure::Failure;
use crate::domain::{Json, Progress, Run, Status, Work, WorkId};
use crate::store::{Claim, DueAt, LEASE_LOST, log_given_up};

/// Seconds from the Unix epoch to PostgreSQL's, the first day of 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

/// The columns of a [`WorkRow`].
pub(super) const WORK: &str =
    "id, kind, message_id, work_code, args::text AS args, status::text AS status, result::text AS result, version,
    created_on, updated_on, run_at, unique_key, error, attempt, progress, note";

/// A work, before its texts are parsed.
#[derive(QueryableByName)]
pub(super) struct WorkRow {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Text)]
    pub(super) kind: String,
    #[diesel(sql_type = Text)]
    pub(super) message_id: String,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Text)]
    pub(super) args: String,
    #[diesel(sql_type = Text)]
    pub(super) status: String,
    #[diesel(sql_type = Nullable<Text>)]
    result: Option<String>,
    #[diesel(sql_type = BigInt)]
    pub(super) version: i64,
    #[diesel(sql_type = Timestamptz)]
    created_on: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    updated_on: PgTimestamp,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    run_at: Option<PgTimestamp>,
    #[diesel(sql_type = Nullable<Text>)]
    unique_key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    error: Option<String>,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Nullable<SmallInt>)]
    progress: Option<i16>,
    #[diesel(sql_type = Nullable<Text>)]
    note: Option<String>,
}

impl WorkRow {
    /// Its `message_id` and kind.
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.message_id, &self.kind)
    }

    pub(super) fn status(&self) -> Result<Status, Failure> {
        parsed(self.id, self.status.parse())
    }

    pub(super) fn into_work(self) -> Result<Work, Failure> {
        let id = self.id;
        let status = parsed(id, self.status.parse())?;
        let shown = self.progress.filter(|_| status == Status::Running);
        Ok(Work {
            id: WorkId(id),
            work_code: parsed(id, self.work_code.parse())?,
            kind: parsed(id, self.kind.parse())?,
            args: Json::accepted(self.args),
            created_on: unix_seconds(self.created_on),
            updated_on: unix_seconds(self.updated_on),
            status,
            result: self.result.map(Json::accepted),
            version: self.version,
            run_at: self.run_at.map(unix_seconds),
            unique: self
                .unique_key
                .map(|unique| parsed(id, unique.try_into()))
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

/// The bytes of a [`WorkRow`] in SQL, as [`Work::bytes`] counts them.
const WORK_BYTES: &str = "octet_length(args) + coalesce(octet_length(result), 0)";

/// A select of works that stops once the works before have this many bytes. `select` gives the columns of [`WORK`];
/// `order` is its order, if the works have one.
pub(super) fn works_within(bytes: usize, select: &str, order: &str) -> String {
    within(bytes, WORK_BYTES, select, order)
}

/// A select that stops once the rows before have this many bytes, where a row has `size`. `order` is the order of
/// `select`, if there is one. The sum runs in that order, so that nothing is sorted again.
pub(super) fn within(bytes: usize, size: &str, select: &str, order: &str) -> String {
    format!(
        "SELECT * FROM (
            SELECT *, sum({size}) OVER ({order} ROWS UNBOUNDED PRECEDING) - ({size}) AS bytes_before
            FROM ({select} OFFSET 0) AS found
        ) AS sized WHERE bytes_before < {bytes} {order}"
    )
}

/// All works or, where one cannot be read, none.
pub(super) fn works(rows: Vec<WorkRow>) -> Result<Vec<Work>, Failure> {
    rows.into_iter().map(WorkRow::into_work).collect()
}

/// The columns of a [`ClaimRow`].
pub(super) const CLAIM: &str =
    "id, kind, message_id, work_code, args::text AS args, generation, attempt, failures, lost_leases, due_at";

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
    #[diesel(sql_type = Nullable<Timestamptz>)]
    due_at: Option<PgTimestamp>,
}

impl ClaimRow {
    pub(super) fn into_claim(self) -> Result<Claim, Failure> {
        let id = self.id;
        Ok(Claim {
            id: WorkId(id),
            message_id: parsed(id, self.message_id.try_into())?,
            work_code: parsed(id, self.work_code.parse())?,
            kind: parsed(id, self.kind.parse())?,
            args: Json::accepted(self.args),
            run: Run {
                generation: self.generation,
                attempt: self.attempt,
            },
            failures: self.failures,
            lost_leases: self.lost_leases,
            due_at: DueAt(self.due_at.map_or(0, unix_microseconds)),
        })
    }
}

/// A work, named by its demand.
#[derive(QueryableByName)]
pub(super) struct MessageIdRow {
    #[diesel(sql_type = Text)]
    pub(super) message_id: String,
}

/// A number of rows.
#[derive(QueryableByName)]
pub(super) struct Count {
    #[diesel(sql_type = BigInt)]
    pub(super) count: i64,
}

/// A work that lost its worker.
#[derive(QueryableByName)]
pub(super) struct Freed {
    #[diesel(sql_type = Text)]
    work_code: String,
    /// True if it was lost once too often.
    #[diesel(sql_type = Bool)]
    given_up: bool,
}

impl Freed {
    /// The columns, for a statement that frees rows.
    pub(super) const COLUMNS: &str = "work_code, status = 'failed' AS given_up";

    /// Logs the works that were given up; returns the number of rows.
    pub(super) fn log(freed: &[Self]) -> u64 {
        for row in freed.iter().filter(|row| row.given_up) {
            log_given_up(&row.work_code, LEASE_LOST);
        }
        freed.len() as u64
    }
}

/// One column of many rows, for an array that a statement takes.
pub(super) fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The rows in the order of their keys, in which statements that wait for locks take them.
pub(super) fn sorted<'a, R: Clone, K: Ord>(rows: &'a [R], key: impl Fn(&'a R) -> K) -> Vec<R> {
    let mut rows: Vec<&R> = rows.iter().collect();
    rows.sort_unstable_by_key(|row| key(row));
    rows.into_iter().cloned().collect()
}

/// Text without NUL, the one character that PostgreSQL keeps in no text.
pub(super) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A value of a row. The schema lets only values through that parse, unless it was changed by hand.
pub(super) fn parsed<T, E>(id: i64, value: Result<T, E>) -> Result<T, Failure> {
    value.map_err(|_| Failure::Unreadable(format!("the row of work {id} is not one that this program writes")))
}

pub(super) fn unix_seconds(moment: PgTimestamp) -> i64 {
    moment.0.div_euclid(1_000_000) + EPOCH_SECONDS
}

pub(super) fn unix_microseconds(moment: PgTimestamp) -> i64 {
    moment.0.saturating_add(EPOCH_SECONDS * 1_000_000)
}

/// A moment in the years that PostgreSQL knows; moments beyond them become their ends.
pub(super) fn from_unix_seconds(moment: i64) -> PgTimestamp {
    const THE_YEAR_1: i64 = -62_135_596_800;
    const THE_YEAR_10000: i64 = 253_402_300_800;
    PgTimestamp((moment.clamp(THE_YEAR_1, THE_YEAR_10000) - EPOCH_SECONDS) * 1_000_000)
}

pub(super) fn from_unix_microseconds(moment: i64) -> PgTimestamp {
    PgTimestamp(moment.saturating_sub(EPOCH_SECONDS * 1_000_000))
}

/// A duration for `* interval '1 microsecond'`, which counts exactly up to here: some thirty years.
pub(super) fn microseconds(duration: Duration) -> i64 {
    const MOST: i64 = 1_000_000_000_000_000;
    i64::try_from(duration.as_micros()).map_or(MOST, |micros| micros.min(MOST))
}
