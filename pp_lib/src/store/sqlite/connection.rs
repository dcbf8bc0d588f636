//! Connections to the file: how they are set up, and what their errors say.

use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult};

use crate::store::StoreError;
use crate::store::refusal::Refusal;

pub(super) fn connect_writer(path: &str) -> std::result::Result<SqliteConnection, Refusal> {
    let mut writer = SqliteConnection::establish(path).map_err(|error| Refusal::Doubtful(error.to_string()))?;
    set_up(&mut writer, "").map_err(refusal)?;
    Ok(writer)
}

/// WAL lets readers go on beside the writer; FULL puts each commit on disk before it is acknowledged.
pub(super) fn set_up(connection: &mut SqliteConnection, more: &str) -> QueryResult<()> {
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000; {more}"
    ))
}

/// An error may be about a row or about the file; diesel hides SQLite's codes but for some constraints, which may be
/// violated by every row. What cannot be read as a row of this program is one that it did not write.
pub(super) fn refusal(error: diesel::result::Error) -> Refusal {
    match error {
        diesel::result::Error::DeserializationError(why) => Refusal::Known(StoreError::Rejected(why.to_string())),
        other => Refusal::Doubtful(other.to_string()),
    }
}
