//! The store on a SQLite file: one writer that merges what waits into one commit, and a pool of readers.
//!
//! One process at a time: who opens the file sees to that (`pp_standalone` holds a lock).

mod api_keys;
mod audit;
mod change_log;
mod complete;
mod completion;
mod connection;
mod create;
mod dead_letters;
mod deltas;
mod dispatch;
mod event_log;
mod idempotency_keys;
mod integrity;
mod kinds;
mod leases;
mod retention;
mod rows;
mod runs;
mod search;
mod trial;
mod views;
mod waits;
mod work_changes;
mod works;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, NopErrorHandler, Pool};
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use pp_storage::SchemaError;

pub(crate) use self::create::create as create_works;

use self::connection::{refusal, set_up};
use self::integrity::Integrity;
use self::writer::{Commit, Writer};
use super::refusal::proved;
use super::{DatabaseInfo, PoolState, Result, Store, StoreError};

/// A store in one file.
pub struct SqliteStore {
    writer: Writer,
    readers: Pool<ConnectionManager<SqliteConnection>>,
    integrity: Arc<Integrity>,
}

impl SqliteStore {
    /// Opens a file with this number of readers, and creates it if it is missing. `timeout` bounds waiting for a
    /// reader. Blocks; leaves the schema alone.
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
        Ok(Self {
            writer,
            readers,
            integrity: Arc::default(),
        })
    }

    /// Fails unless an existing file has the schema of this program. Leaves the file as it is, while opening a store on
    /// it would change its journal mode. Blocks.
    pub fn check_file(path: &str) -> Result<()> {
        use diesel::connection::SimpleConnection as _;
        let mut reader =
            SqliteConnection::establish(path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        reader
            .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;")
            .map_err(|error| StoreError::from(refusal(error)))?;
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

    /// Runs a change; it is committed, with others, when this returns. One that is refused is never
    /// [`StoreError::Rejected`].
    async fn write<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        let written = self.writer.write(change).await;
        self.judged(written.map_err(StoreError::from)).await
    }

    /// Runs a change that a power failure may take back, such as a claim: it is made again, and causes at most a second
    /// message.
    async fn write_without_sync<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        let written = self.writer.send(change, Commit::NotSynchronous).await;
        self.judged(written.map_err(StoreError::from)).await
    }

    /// Runs a change with this many rows that may be refused. It is [`StoreError::Rejected`] if the trial, the same
    /// with another row, succeeds.
    async fn write_proved<T, F, P>(&self, rows: usize, change: F, trial: P) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut SqliteConnection) -> QueryResult<T> + Send + Sync + 'static,
        P: Fn(&mut SqliteConnection) -> QueryResult<()> + Send + Sync + 'static,
    {
        let (change, trial) = (Arc::new(change), Arc::new(trial));
        let write = || {
            let change = Arc::clone(&change);
            self.writer.write(move |connection| change(connection))
        };
        let tried = || {
            let trial = Arc::clone(&trial);
            self.writer.write(move |connection| trial(connection))
        };
        self.judged(proved(rows, write, tried).await).await
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
            question(&mut reader).map_err(|error| refusal(error).into())
        });
        let answer = answer
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.judged(answer).await
    }

    /// Looks whether the file is newer than this program, or damaged, where it refuses.
    async fn judged<T>(&self, answer: Result<T>) -> Result<T> {
        let error = match answer {
            Err(error @ (StoreError::Unwell(_) | StoreError::Rejected(_))) => error,
            known => return known,
        };
        let (readers, integrity) = (self.readers.clone(), Arc::clone(&self.integrity));
        let looked = tokio::task::spawn_blocking(move || {
            let mut reader = readers.get().ok()?;
            match pp_storage::check_sqlite(&mut reader) {
                Err(SchemaError::Newer(newer)) => Some(StoreError::Outdated(newer)),
                _ => integrity.damage(&mut reader).map(StoreError::Damaged),
            }
        });
        Err(looked.await.ok().flatten().unwrap_or(error))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn check(&self) -> Result<()> {
        self.read(|reader| Ok(pp_storage::check_sqlite(reader)))
            .await?
            .map_err(schema_error)
    }

    async fn check_writes(&self) -> Result<()> {
        self.write(trial::writes).await
    }

    async fn about(&self) -> Result<DatabaseInfo> {
        #[derive(QueryableByName)]
        struct About {
            #[diesel(sql_type = Text)]
            version: String,
            #[diesel(sql_type = BigInt)]
            now_ms: i64,
        }

        self.read(|reader| {
            let About { version, now_ms } = sql_query(
                "SELECT sqlite_version() AS version,
                    CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) AS now_ms",
            )
            .get_result(reader)?;
            let system = "SQLite";
            Ok(DatabaseInfo {
                system,
                version,
                now_ms,
            })
        })
        .await
    }

    /// The readers. The one writer has a connection besides.
    fn pool(&self) -> Option<PoolState> {
        let state = self.readers.state();
        Some(PoolState {
            open: state.connections,
            in_use: state.connections.saturating_sub(state.idle_connections),
            limit: self.readers.max_size(),
        })
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

fn schema_error(error: SchemaError) -> StoreError {
    match error {
        SchemaError::Newer(newer) => StoreError::Outdated(newer),
        SchemaError::Unknown(_) => StoreError::Rejected(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
