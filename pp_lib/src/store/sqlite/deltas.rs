//! Deltas for the counters, written within the change of the works.

use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::rows::json_rows;
use crate::domain::Status;

/// A work that may have gone from one status to another.
pub(super) struct Moved {
    /// The work, as it is now.
    pub(super) id: i64,
    /// Its former status; none for a new work.
    pub(super) was: Option<Status>,
    /// The bucket of the time that it took, for one that became done.
    pub(super) bucket: Option<u8>,
}

impl Moved {
    /// One that was in this status.
    pub(super) fn from(was: Status, id: i64) -> Self {
        Self {
            id,
            was: Some(was),
            bucket: None,
        }
    }

    /// One that was not there.
    pub(super) fn new(id: i64) -> Self {
        Self {
            id,
            was: None,
            bucket: None,
        }
    }
}

/// Says where they went, in as few rows as there are kinds of moves. What stayed as it was does not count.
pub(super) fn record(connection: &mut SqliteConnection, moved: impl IntoIterator<Item = Moved>) -> QueryResult<()> {
    let input = moved
        .into_iter()
        .map(|moved| json!([moved.id, moved.was.map(Status::as_str), moved.bucket]));
    sql_query(
        "INSERT INTO stat_deltas (kind, origin, was, status, latency, works)
         SELECT kind, origin, input.value ->> 1, iif(deleted_on IS NULL, status, NULL), input.value ->> 2, count(*)
         FROM json_each(?) AS input JOIN works ON works.id = input.value ->> 0
         WHERE deleted_on IS NOT NULL OR status IS NOT input.value ->> 1
         GROUP BY 1, 2, 3, 4, 5",
    )
    .bind::<Text, _>(json_rows(input))
    .execute(connection)
    .map(drop)
}
