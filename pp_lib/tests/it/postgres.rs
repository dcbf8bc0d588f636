//! A private PostgreSQL database for a test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use tokio_postgres::{Client, NoTls};
use url::Url;

/// The time limit of store calls and awaited conditions.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// An empty database. Dropping this drops it, despite open connections.
pub(crate) struct Database {
    name: String,
    /// Its URL.
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pp_lib_{}_{number}", std::process::id());
        let mut url = server();
        let admin = connect(url.as_str()).await;
        // A killed test run with the same process id may have left one behind.
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await
            .unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        url.set_path(&name);
        Self {
            name,
            url: url.to_string(),
        }
    }

    /// A migrated store on it, with at most `pool` connections.
    pub(crate) async fn store(&self, pool: u32) -> PostgresStore {
        let store = self.store_by(&self.url, pool, TIMEOUT).await;
        store.migrate(TIMEOUT).await.unwrap();
        store
    }

    /// A store through another URL, without migration and with another timeout.
    pub(crate) async fn store_by(&self, url: &str, pool: u32, timeout: Duration) -> PostgresStore {
        let config = PostgresConfig {
            trust: pp_lib::tls::Trust::default(),
            url: url.to_owned(),
            pool,
            timeout,
        };
        PostgresStore::open(config).await.unwrap()
    }

    /// Waits until the sessions of dropped stores have ended. Only then are their statistics counted.
    pub(crate) async fn until_sessions_ended(&self) {
        let client = self.client().await;
        let sessions = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pp'";
        let deadline = Instant::now() + TIMEOUT;
        while client.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(Instant::now() < deadline, "sessions of a store stay");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The number of deadlocks. The server counts them when sessions end, so those of stores must have ended.
    pub(crate) async fn deadlocks(&self) -> i64 {
        self.until_sessions_ended().await;
        let client = self.client().await;
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        client.query_one(deadlocks, &[]).await.unwrap().get(0)
    }

    /// Waits until a session of a store waits for a lock.
    pub(crate) async fn until_one_waits(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pp' AND wait_event_type = 'Lock'";
        let client = self.client().await;
        let deadline = Instant::now() + TIMEOUT;
        while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(Instant::now() < deadline, "no session waits for a lock");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The number that a query returns.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.client().await.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Runs statements on a separate connection.
    pub(crate) async fn run(&self, statements: &str) {
        self.client().await.batch_execute(statements).await.unwrap();
    }

    /// A separate connection.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // Uses its own runtime: the test's may be shutting down.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { connect(server().as_str()).await.batch_execute(&drop).await })
        });
        if !std::thread::panicking() {
            dropped.join().unwrap().unwrap();
        }
    }
}

fn server() -> Url {
    let url = std::env::var("PP_TEST_POSTGRES_URL")
        .expect("PP_TEST_POSTGRES_URL is not set: `make test` starts a PostgreSQL server and sets it");
    url.parse().expect("PP_TEST_POSTGRES_URL is no URL")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
