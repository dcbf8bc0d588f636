//! A PostgreSQL database of its own for each test that wants one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use tokio_postgres::{Client, NoTls};
use url::Url;

/// How long a call to a store may take, and a condition to come true.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// An empty database; dropped with this, whoever is still connected.
pub(crate) struct Database {
    name: String,
    /// Where it is.
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pp_lib_{}_{number}", std::process::id());
        let mut url = server();
        let admin = connect(url.as_str()).await;
        // The process id of a test run that was killed may come back.
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

    /// A store on it, with the schema, and this many connections at most.
    pub(crate) async fn store(&self, pool: u32) -> PostgresStore {
        let store = self.store_by(&self.url, pool, TIMEOUT).await;
        store.migrate(TIMEOUT).await.unwrap();
        store
    }

    /// The store as it is, reached by another way, and with another patience.
    pub(crate) async fn store_by(&self, url: &str, pool: u32, timeout: Duration) -> PostgresStore {
        let config = PostgresConfig {
            url: url.to_owned(),
            pool,
            timeout,
        };
        PostgresStore::open(config).await.unwrap()
    }

    /// Returns once the sessions of stores that were dropped are over: then the server has counted what they did.
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

    /// How many deadlocks there were. The server counts when sessions end, so those of stores have to be over by now.
    pub(crate) async fn deadlocks(&self) -> i64 {
        self.until_sessions_ended().await;
        let client = self.client().await;
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        client.query_one(deadlocks, &[]).await.unwrap().get(0)
    }

    /// Returns once a session of a store waits for somebody's lock.
    pub(crate) async fn until_one_waits(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pp' AND wait_event_type = 'Lock'";
        let client = self.client().await;
        let deadline = Instant::now() + TIMEOUT;
        while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(Instant::now() < deadline, "nobody waits for a lock");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A number that a query answers.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.client().await.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Runs statements, as somebody else.
    pub(crate) async fn run(&self, statements: &str) {
        self.client().await.batch_execute(statements).await.unwrap();
    }

    /// A connection beside those of what is tested.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A runtime of its own: the test's may be on its way out.
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
