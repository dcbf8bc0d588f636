//! The store on a SQLite file: one writer that merges what waits into one commit, and a pool of readers.
//!
//! One process at a time: who opens the file sees to that (`pp_standalone` holds a lock).

mod change_log;
mod completion;
mod dead_letters;
mod deltas;
mod dispatch;
mod event_log;
mod idempotency_keys;
mod leases;
mod retention;
mod views;
mod waits;
mod work_changes;
mod work_rows;
mod writer;

use std::time::Duration;

use async_trait::async_trait;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, NopErrorHandler, Pool};
use diesel::result::DatabaseErrorKind;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult};
use pp_storage::SchemaError;

use self::writer::Writer;
use super::{Result, Store, StoreError};

/// Now, as this store keeps time: Unix milliseconds.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// A store in one file.
pub struct SqliteStore {
    writer: Writer,
    readers: Pool<ConnectionManager<SqliteConnection>>,
}

impl SqliteStore {
    /// Opens a file, created when it is not there, with so many readers. `timeout` bounds waiting for a reader.
    /// Blocks; the schema is left alone.
    pub fn open(path: &str, readers: u32, timeout: Duration) -> Result<Self> {
        let writer = Writer::open(path)?;
        let readers = Pool::builder()
            .max_size(readers)
            .min_idle(Some(1))
            .connection_timeout(timeout)
            .test_on_check_out(false)
            .error_handler(Box::new(NopErrorHandler))
            .connection_customizer(Box::new(Reader))
            .build(ConnectionManager::new(path))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { writer, readers })
    }

    /// Whether a file that exists has the schema of this program. A file that has not is left as it is, while opening
    /// a store on it would change its journal mode. Blocks.
    pub fn check_file(path: &str) -> Result<()> {
        use diesel::connection::SimpleConnection as _;
        let mut reader =
            SqliteConnection::establish(path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        reader
            .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;")
            .map_err(store_error)?;
        pp_storage::check_sqlite(&mut reader).map_err(schema_error)
    }

    /// Brings the schema up to date.
    pub async fn migrate(&self) -> Result<()> {
        self.writer
            .alone(pp_storage::migrate_sqlite)
            .await?
            .map(drop)
            .map_err(schema_error)
    }

    /// Runs a change; it is committed, with others, when this returns.
    async fn write<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        self.writer.write(change).await
    }

    /// Runs a question on a thread that may block.
    async fn read<T, F>(&self, question: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        let readers = self.readers.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut reader = readers
                .get()
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
            question(&mut reader).map_err(store_error)
        });
        answer
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn check(&self) -> Result<()> {
        self.read(|reader| Ok(pp_storage::check_sqlite(reader)))
            .await?
            .map_err(schema_error)
    }
}

/// Prepares the connections of readers.
#[derive(Debug)]
struct Reader;

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Reader {
    fn on_acquire(&self, reader: &mut SqliteConnection) -> std::result::Result<(), diesel::r2d2::Error> {
        set_up(reader, "PRAGMA query_only = ON;").map_err(diesel::r2d2::Error::QueryError)
    }
}

fn connect_writer(path: &str) -> Result<SqliteConnection> {
    let mut writer = SqliteConnection::establish(path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    set_up(&mut writer, "").map_err(store_error)?;
    Ok(writer)
}

/// WAL lets readers go on beside the writer; FULL puts each commit on disk before it is acknowledged.
fn set_up(connection: &mut SqliteConnection, more: &str) -> QueryResult<()> {
    use diesel::connection::SimpleConnection as _;
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000; {more}"
    ))
}

fn store_error(error: diesel::result::Error) -> StoreError {
    use DatabaseErrorKind::{CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation};
    match error {
        diesel::result::Error::DatabaseError(
            CheckViolation | ForeignKeyViolation | NotNullViolation | UniqueViolation,
            info,
        ) => StoreError::Rejected(info.message().to_owned()),
        diesel::result::Error::DeserializationError(why) => StoreError::Rejected(why.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn schema_error(error: SchemaError) -> StoreError {
    match error {
        SchemaError::Unknown(_) => StoreError::Rejected(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Input rows as the one parameter that `json_each` takes apart: how SQLite takes many rows in one statement.
fn json_rows(rows: impl IntoIterator<Item = serde_json::Value>) -> String {
    serde_json::Value::Array(rows.into_iter().collect()).to_string()
}

/// A value of a row that the schema's own constraints rule out.
fn unexpected(what: &str) -> diesel::result::Error {
    diesel::result::Error::DeserializationError(format!("unexpected {what} in the database").into())
}
