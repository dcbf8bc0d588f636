//! The store on PostgreSQL: the pool of connections, and how a call gets through to the server.
//!
//! The modules below have the statements, one for each part of the port; `pp_storage` has the schema.
//!
//! Two rules prevent deadlocks. A statement that waits for locks on several rows takes them in the order of their key
//! (`message_id`, or scope and key), works before their letters. Every other statement skips locked rows.

mod api_keys;
mod audit;
mod change_log;
mod complete;
mod completion;
mod create;
mod dead_letters;
mod dispatch;
mod event_log;
mod failure;
mod feed_epoch;
mod idempotency_keys;
mod kinds;
mod leases;
mod pooler;
mod prepared;
mod retention;
mod rows;
mod runs;
mod search;
mod session;
mod trial;
mod views;
mod waits;
mod work_changes;
mod works;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use diesel::pg::PgConnection;
use diesel::r2d2::{NopErrorHandler, Pool};
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, sql_query};
use pp_storage::SchemaError;
use pp_tls::Trust;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use self::failure::Failure;
use self::session::{Sessions, Way};
use super::refusal::{Refusal, proved};
use super::{DatabaseInfo, PoolState, Result, Store, StoreError};
use crate::feed::postgres::refuses_for_good;
pub use pp_storage::Encryption;

/// The address of PostgreSQL, and bounds for its use.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`, as libpq understands it.
    pub url: String,
    /// The authorities of the server's certificate, unless the URL names some.
    pub trust: Trust,
    /// The most connections.
    pub pool: u32,
    /// The longest a call may take, with all waits and retries.
    pub timeout: Duration,
}

impl fmt::Debug for PostgresConfig {
    /// Without the URL: there is a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url: _,
            trust,
            pool,
            timeout,
        } = self;
        f.debug_struct("PostgresConfig")
            .field("trust", trust)
            .field("pool", pool)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// Works in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool<Sessions>,
    /// One permit for each connection: callers wait here, without a thread.
    turns: Arc<Semaphore>,
    /// For what takes long, and for what needs a session of its own.
    direct: Sessions,
    timeout: Duration,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("pool", &self.pool.state())
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, waiting for the server no longer than the timeout; asks nothing about the schema. A connection pooler
    /// that shares the server's sessions is refused.
    pub async fn open(config: PostgresConfig) -> Result<Self> {
        let sessions =
            Sessions::new(&config.url, &config.trust, Way::Session, config.timeout).map_err(StoreError::Rejected)?;
        pooler::refuse_shared_sessions(&sessions).await?;
        Self::with_pool(sessions.clone(), sessions, &config).await
    }

    /// The same database by way of a connection pooler, which may share the server's sessions. `direct` is the store on
    /// the server itself.
    pub async fn open_pooled(config: PostgresConfig, direct: &Self) -> Result<Self> {
        let sessions = Sessions::new(&config.url, &config.trust, Way::Transaction, config.timeout)
            .map_err(StoreError::Rejected)?;
        pooler::refuse_statements_alone(&sessions).await?;
        let store = Self::with_pool(sessions, direct.direct.clone(), &config).await?;
        pooler::refuse_another_server(&store, direct).await?;
        Ok(store)
    }

    async fn with_pool(sessions: Sessions, direct: Sessions, config: &PostgresConfig) -> Result<Self> {
        let size = config.pool.max(1);
        let pool = Pool::builder()
            .max_size(size)
            .min_idle(Some(0))
            .test_on_check_out(false)
            // How long a call waits is said with each call; this only bounds the pauses between attempts to connect.
            .connection_timeout(config.timeout.min(Duration::from_secs(1)))
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(sessions);
        let store = Self {
            pool,
            turns: Arc::new(Semaphore::new(size as usize)),
            direct,
            timeout: config.timeout,
        };
        store
            .run(|connection| Ok(sql_query("SELECT 1").execute(connection).map(drop)?))
            .await?;
        Ok(store)
    }

    /// Brings the schema up to date, on a connection of its own. Services that start at once take turns; each waits no
    /// longer than `max_wait`.
    pub async fn migrate(&self, max_wait: Duration) -> Result<()> {
        let sessions = self.direct.clone();
        let migrating = spawn_blocking(move || {
            let mut connection = sessions.connect_plainly().map_err(StoreError::Unavailable)?;
            pp_storage::migrate_postgres(&mut connection, max_wait, &mut |line| log::info!("{line}"))
                .map_err(|error| migration_error(&mut connection, error))?;
            feed_epoch::ensure(&mut connection).map_err(|error| StoreError::Unavailable(error.to_string()))
        });
        migrating.await.unwrap_or_else(panicked)
    }

    /// Runs an attempt on a connection of the pool, and again what failed for the connection's or the moment's sake,
    /// until the timeout. An attempt that the server refuses is never [`StoreError::Rejected`].
    async fn run<T, F>(&self, attempt: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut PgConnection) -> Outcome<T> + Send + Sync + 'static,
    {
        Ok(self.attempt(&Arc::new(attempt)).await?)
    }

    /// Runs an attempt with this many rows that may be refused. It is [`StoreError::Rejected`] if the trial, the same
    /// with another row, succeeds.
    async fn run_proved<T, F, P>(&self, rows: usize, attempt: F, trial: P) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut PgConnection) -> Outcome<T> + Send + Sync + 'static,
        P: Fn(&mut PgConnection) -> Outcome<()> + Send + Sync + 'static,
    {
        let (attempt, trial) = (Arc::new(attempt), Arc::new(trial));
        proved(rows, || self.attempt(&attempt), || self.attempt(&trial)).await
    }

    async fn attempt<T, F>(&self, attempt: &Arc<F>) -> std::result::Result<T, Refusal>
    where
        T: Send + 'static,
        F: Fn(&mut PgConnection) -> Outcome<T> + Send + Sync + 'static,
    {
        /// Tries of a call that the server refuses without a known reason.
        const UNCLEAR_TRIES: u32 = 4;

        let deadline = Instant::now() + self.timeout;
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(10))
            .with_max_delay(Duration::from_millis(500))
            .without_max_times()
            .with_jitter()
            .build();
        let (mut why, mut unclear) = (None, 0);
        loop {
            match timeout_at(deadline, self.once(Arc::clone(attempt), deadline)).await {
                Err(_) => break,
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::Stale(text))) => {
                    why = Some(text);
                    continue;
                }
                Ok(Err(Failure::Broken(text) | Failure::Busy(text))) => why = Some(text),
                Ok(Err(Failure::Violated(text))) => return Err(self.refused(text).await),
                Ok(Err(Failure::Unclear(text))) => {
                    unclear += 1;
                    if unclear == UNCLEAR_TRIES {
                        return Err(self.refused(text).await);
                    }
                    why = Some(text);
                }
                Ok(Err(Failure::Unreachable(text))) => return Err(Refusal::Known(StoreError::Unavailable(text))),
                Ok(Err(Failure::Unreadable(text))) => return Err(Refusal::Known(StoreError::Rejected(text))),
            }
            let pause = pauses.next().unwrap_or_default();
            if Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
        }
        let why = why.unwrap_or_else(|| format!("no answer within {:?}", self.timeout));
        Err(Refusal::Known(StoreError::Unavailable(why)))
    }

    /// The meaning of a refusal: the schema may not be that of this program any more.
    async fn refused(&self, why: String) -> Refusal {
        let check = |connection: &mut PgConnection| Ok(pp_storage::check_postgres(connection));
        match self.once(Arc::new(check), Instant::now() + self.timeout).await {
            Ok(Err(SchemaError::Newer(newer))) => Refusal::Known(StoreError::Outdated(newer)),
            _ => Refusal::Doubtful(why),
        }
    }

    async fn once<T, F>(&self, attempt: Arc<F>, deadline: Instant) -> Outcome<T>
    where
        T: Send + 'static,
        F: Fn(&mut PgConnection) -> Outcome<T> + Send + Sync + 'static,
    {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let pool = self.pool.clone();
        let once = spawn_blocking(move || {
            let _turn = turn;
            // A little less than what is left, so that the reason is known before the time is up.
            let max_wait = (deadline - Instant::now()).mul_f32(0.9);
            let mut session = pool
                .get_timeout(max_wait)
                .map_err(|error| Failure::Unreachable(error.to_string()))?;
            session.run(|connection| attempt(connection))
        });
        once.await.unwrap_or_else(panicked)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn check(&self) -> Result<()> {
        let checked = self.run(|connection| {
            let checked = connection.transaction(pp_storage::check_postgres);
            // What has failed may be the connection rather than the schema: then this fails too.
            sql_query("SELECT 1").execute(connection)?;
            Ok(checked)
        });
        checked.await?.map_err(schema_error)
    }

    /// Without another try, except on a new connection: this is asked often.
    async fn check_writes(&self) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        let trial = Arc::new(trial::writes);
        let mut tried = self.once(Arc::clone(&trial), deadline).await;
        if let Err(Failure::Stale(_)) = tried {
            tried = self.once(trial, deadline).await;
        }
        match tried {
            Ok(()) => Ok(()),
            Err(Failure::Violated(why) | Failure::Unclear(why)) => Err(self.refused(why).await.into()),
            // A server that only reads ends the connection, and is there.
            Err(Failure::Broken(why)) => match self.check().await {
                Ok(()) => Err(StoreError::Unwell(why)),
                Err(error) => Err(error),
            },
            Err(failure) => Err(StoreError::Unavailable(failure.into_words())),
        }
    }

    async fn about(&self) -> Result<DatabaseInfo> {
        #[derive(QueryableByName)]
        struct About {
            #[diesel(sql_type = Text)]
            version: String,
            #[diesel(sql_type = BigInt)]
            now_ms: i64,
        }

        self.run(|connection| {
            let About { version, now_ms } = sql_query(
                "SELECT current_setting('server_version') AS version,
                    (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms",
            )
            .get_result(connection)?;
            let system = "PostgreSQL";
            Ok(DatabaseInfo {
                system,
                version,
                now_ms,
            })
        })
        .await
    }

    fn pool(&self) -> Option<PoolState> {
        let state = self.pool.state();
        Some(PoolState {
            open: state.connections,
            in_use: state.connections.saturating_sub(state.idle_connections),
            limit: self.pool.max_size(),
        })
    }
}

/// The error for a missing connection. Waiting helps unless the server is there and does not know this user or
/// database, or has a certificate that is refused.
async fn no_connection(sessions: &Sessions, why: String) -> StoreError {
    match refuses_for_good(sessions.url(), sessions.trust()).await {
        true => StoreError::Rejected(why),
        false => StoreError::Unavailable(why),
    }
}

/// The result of an attempt.
type Outcome<T> = std::result::Result<T, Failure>;

fn schema_error(error: SchemaError) -> StoreError {
    match error {
        SchemaError::Newer(newer) => StoreError::Outdated(newer),
        SchemaError::Locked(_) => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Rejected(error.to_string()),
    }
}

/// The same where the connection may be what failed.
fn migration_error(connection: &mut PgConnection, error: SchemaError) -> StoreError {
    match sql_query("SELECT 1").execute(connection) {
        Ok(_) => schema_error(error),
        Err(_) => StoreError::Unavailable(error.to_string()),
    }
}

/// A panic in a blocking task goes on in the task that waits for it; there is no other reason for losing it.
fn panicked<T>(lost: tokio::task::JoinError) -> T {
    match lost.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(lost) => panic!("{lost}"),
    }
}
