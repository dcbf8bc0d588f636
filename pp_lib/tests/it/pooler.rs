//! The store behind PgBouncer: the store suite in transaction mode, and the detection of other modes.

pub(crate) mod on_servers {
    use pp_lib::domain::{Json, KindName, Principal};
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use pp_conformance::store::{new_works, without_row};
    use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
    use pp_lib::store::{
        AnyStore, Completed, Completion, Completions as _, Outcome, Store as _, StoreError, WorkChanges as _,
        WorkRows as _,
    };
    use tokio_postgres::{NoTls, SimpleQueryMessage};
    use url::Url;

    use crate::postgres::{Database, TIMEOUT};

    /// A PgBouncer in front of a database's server. Dropping it ends the process.
    pub(crate) struct PgBouncer {
        child: Child,
        port: u16,
        folder: tempfile::TempDir,
    }

    impl PgBouncer {
        /// Starts it with these lines of settings. Every login becomes the server's user.
        pub(crate) async fn before(database: &Database, settings: &str) -> Self {
            let server: Url = database.url.parse().unwrap();
            let (host, user) = (server.host_str().unwrap(), server.username());
            let (address, password) = (server.port().unwrap_or(5432), server.password().unwrap_or_default());
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let ini = format!(
                "[databases]\n* = host={host} port={address} user={user} password={password}\n[pgbouncer]\n\
                listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n{settings}\n"
            );
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("pgbouncer.ini");
            fs::write(&file, ini).unwrap();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let mut command = Command::new("pgbouncer");
            // PgBouncer refuses to run as root.
            if fs::metadata(&file).unwrap().uid() == 0 {
                fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
                command.args(["-u", "nobody"]);
            }
            let child = command
                .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .expect("pgbouncer is not installed: `make test` installs it");
            let pooler = Self { child, port, folder };
            let (url, deadline) = (pooler.url(database), Instant::now() + TIMEOUT);
            while tokio_postgres::connect(&url, NoTls).await.is_err() {
                let log = fs::read_to_string(pooler.folder.path().join("log")).unwrap();
                assert!(Instant::now() < deadline, "PgBouncer does not serve: {log}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            pooler
        }

        /// The database's URL through the pooler.
        pub(crate) fn url(&self, database: &Database) -> String {
            let mut url: Url = database.url.parse().unwrap();
            url.set_host(Some("127.0.0.1")).unwrap();
            url.set_port(Some(self.port)).unwrap();
            url.to_string()
        }
    }

    impl Drop for PgBouncer {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn config(url: &str, pool: u32, timeout: Duration) -> PostgresConfig {
        PostgresConfig {
            trust: pp_lib::tls::Trust::default(),
            url: url.to_owned(),
            pool,
            timeout,
        }
    }

    async fn open(url: &str) -> Result<PostgresStore, StoreError> {
        PostgresStore::open(config(url, 4, TIMEOUT)).await
    }

    /// A migrated database behind a pooler in transaction mode with `sessions` sessions.
    async fn pooled(sessions: u32, timeout: Duration) -> (PostgresStore, PgBouncer, Database) {
        let database = Database::create().await;
        let direct = database.store(1).await;
        let settings = format!("pool_mode = transaction\ndefault_pool_size = {sessions}");
        let pooler = PgBouncer::before(&database, &settings).await;
        let config = config(&pooler.url(&database), 8, timeout);
        let store = PostgresStore::open_pooled(config, &direct).await.unwrap();
        (store, pooler, database)
    }

    pub(crate) async fn fresh() -> (AnyStore, (PgBouncer, Database)) {
        let (store, pooler, database) = pooled(2, TIMEOUT).await;
        (Arc::new(store), (pooler, database))
    }

    pp_conformance::store_suite!(fresh);

    fn demands(count: i64) -> Vec<Completion> {
        let done = |number| {
            without_row(
                number,
                Outcome::Done {
                    result: Json::from(number),
                },
            )
        };
        (1..=count).map(done).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_callers_share_few_sessions_and_leave_nothing_in_them() {
        const CALLERS: i64 = 24;
        const ROUNDS: i64 = 10;
        let (store, pooler, database) = pooled(3, TIMEOUT).await;
        let callers = (0..CALLERS).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    let new = new_works(1..=2);
                    assert!(store.create(&new).await.unwrap().iter().all(Option::is_some));
                    assert_eq!(
                        store.create(&new).await.unwrap().len(),
                        2,
                        "what is there already is answered"
                    );
                    let demands = demands(3);
                    let completed = store.complete(KindName::add_up_to(), &demands).await.unwrap();
                    assert!(completed.iter().all(|completed| *completed == Completed::Applied));
                    let completed = store.complete(KindName::add_up_to(), &demands).await.unwrap();
                    assert!(completed.iter().all(|completed| *completed == Completed::Superseded));
                    store.check().await.unwrap();
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        assert_eq!(
            database.number("SELECT count(*) FROM works").await,
            CALLERS * ROUNDS * 5
        );
        let events = CALLERS * ROUNDS * (2 + 3 * 3);
        assert_eq!(database.number("SELECT count(*) FROM events").await, events);
        assert_eq!(left_in_the_session(&pooler, &database).await, ("0".into(), "0".into()));
    }

    /// The number of prepared statements in a session of the pooler, and its statement timeout.
    async fn left_in_the_session(pooler: &PgBouncer, database: &Database) -> (String, String) {
        let (client, connection) = tokio_postgres::connect(&pooler.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        let asked = client.simple_query(
            "SELECT count(*) AS prepared, current_setting('statement_timeout') AS timeout FROM pg_prepared_statements",
        );
        let answer = asked.await.unwrap();
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |column| row.unwrap().get(column).unwrap().to_owned();
        (text("prepared"), text("timeout"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_call_that_waits_for_a_lock_ends_on_the_server_as_well() {
        let (store, _pooler, database) = pooled(2, Duration::from_secs(2)).await;
        let work = store.create(&new_works(1..=1)).await.unwrap()[0].clone().unwrap();
        let client = database.client().await;
        client
            .batch_execute("BEGIN; SELECT * FROM works FOR UPDATE")
            .await
            .unwrap();
        let refused = store
            .update(&Principal::Open, work.id, &work.args, None, Duration::ZERO)
            .await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let deadline = Instant::now() + TIMEOUT;
        while database.number(waiting).await > 0 {
            assert!(Instant::now() < deadline, "an abandoned statement still waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
        let updated = store
            .update(&Principal::Open, work.id, &work.args, None, Duration::ZERO)
            .await;
        assert!(updated.is_ok(), "{updated:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pooler_that_shares_sessions_is_refused_in_every_mode() {
        let settings = [
            "pool_mode = transaction",
            "pool_mode = transaction\ndefault_pool_size = 1",
            "pool_mode = transaction\nserver_round_robin = 1",
            "pool_mode = transaction\ndefault_pool_size = 2\nserver_round_robin = 1",
            "pool_mode = statement",
        ];
        for settings in settings {
            let database = Database::create().await;
            let pooler = PgBouncer::before(&database, settings).await;
            let url = pooler.url(&database);
            is_refused(&url, settings).await;
            let busy = Busy::with(&url, 6);
            for _ in 0..5 {
                is_refused(&url, settings).await;
            }
            busy.end().await;
        }
    }

    async fn is_refused(url: &str, settings: &str) {
        match open(url).await {
            Err(StoreError::Rejected(why)) => assert!(why.contains("connection pooler"), "{settings}: {why}"),
            other => panic!("{settings}: {other:?}"),
        }
    }

    /// Clients that keep a pooler's sessions busy.
    struct Busy {
        over: Arc<AtomicBool>,
        clients: Vec<tokio::task::JoinHandle<()>>,
    }

    impl Busy {
        fn with(url: &str, clients: usize) -> Self {
            let over = Arc::new(AtomicBool::new(false));
            let client = |_| {
                let (url, over) = (url.to_owned(), Arc::clone(&over));
                tokio::spawn(async move {
                    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
                    tokio::spawn(connection);
                    while !over.load(Ordering::Relaxed) {
                        client.simple_query("SELECT pg_sleep(0.001)").await.unwrap();
                    }
                })
            };
            let clients = (0..clients).map(client).collect();
            Self { over, clients }
        }

        async fn end(self) {
            self.over.store(true, Ordering::Relaxed);
            for client in self.clients {
                client.await.unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pooler_in_session_mode_works_like_the_server() {
        let database = Database::create().await;
        let pooler = PgBouncer::before(&database, "pool_mode = session\ndefault_pool_size = 6").await;
        let store = open(&pooler.url(&database)).await.unwrap();
        store.migrate(TIMEOUT).await.unwrap();
        store.check().await.unwrap();
        assert_eq!(store.create(&new_works(1..=3)).await.unwrap().len(), 3);
        assert_eq!(
            store.complete(KindName::add_up_to(), &demands(3)).await.unwrap(),
            vec![Completed::Applied; 3]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_session_of_a_pooler_in_session_mode_is_enough() {
        let database = Database::create().await;
        let pooler = PgBouncer::before(&database, "pool_mode = session\ndefault_pool_size = 1").await;
        let store = PostgresStore::open(config(&pooler.url(&database), 1, TIMEOUT)).await;
        assert!(store.is_ok(), "{:?}", store.err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn beside_a_direct_url_a_pooler_must_take_transactions_and_lead_to_the_same_database() {
        let (database, other) = (Database::create().await, Database::create().await);
        let direct = database.store(1).await;
        let refused = async |pooler: &PgBouncer, database: &Database| {
            let config = config(&pooler.url(database), 1, TIMEOUT);
            match PostgresStore::open_pooled(config, &direct).await {
                Err(StoreError::Rejected(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        let statements = PgBouncer::before(&database, "pool_mode = statement").await;
        let why = refused(&statements, &database).await;
        assert!(why.contains("no transactions"), "{why}");
        let transactions = PgBouncer::before(&database, "pool_mode = transaction").await;
        let why = refused(&transactions, &other).await;
        assert!(why.contains("PP_DATABASE_DIRECT_URL"), "{why}");
        let config = config(&transactions.url(&database), 1, TIMEOUT);
        assert!(PostgresStore::open_pooled(config, &direct).await.is_ok());
    }
}
