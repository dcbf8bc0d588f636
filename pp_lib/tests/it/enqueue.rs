//! Works that an application's own transaction puts in.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handlers::Sums;
use pp_lib::broker::AnyBroker;
use pp_lib::broker::memory::Memory;
use pp_lib::diesel::result::Error;
use pp_lib::diesel::sqlite::SqliteConnection;
use pp_lib::diesel::{Connection, QueryResult};
use pp_lib::domain::{AddUpTo, Json, KindName, Principal, Unique, Variable, Work, WorkId};
use pp_lib::enqueue::{EnqueueConnection, Enqueued, NewJob, enqueue};
use pp_lib::feed::AnyFeed;
use pp_lib::kinds::Policy;
use pp_lib::maintenance::{DispatchSettings, Dispatcher};
use pp_lib::runtime::Health;
use pp_lib::store::AnyStore;
use pp_lib::worker::{ConsumeSettings, Consumer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn sum(bound: i64) -> NewJob {
    let bound = AddUpTo::try_from(bound).unwrap();
    NewJob::new(KindName::default(), bound.args())
}

fn unique(text: &str) -> Option<Unique> {
    Some(text.to_owned().try_into().unwrap())
}

async fn work(store: &AnyStore, id: WorkId) -> Work {
    store.by_ids(&[id]).await.unwrap().remove(0)
}

/// Enqueues in a transaction of its own.
fn put<C: Connection + EnqueueConnection>(connection: &mut C, job: &NewJob) -> QueryResult<Enqueued> {
    connection.transaction(|connection| enqueue(connection, job))
}

/// A dispatcher and a worker that run until this is dropped.
fn running(store: &AnyStore, feed: &AnyFeed, poll: Duration) -> JoinSet<()> {
    let broker: AnyBroker = Arc::new(Memory::default());
    let settings = DispatchSettings {
        within: Duration::from_secs(3600),
        poll,
        max_lost_leases: 3,
        retain: Duration::MAX,
    };
    let dispatcher = Dispatcher::new(store.clone(), broker.clone(), feed.clone(), settings);
    let consuming = ConsumeSettings {
        prefetch: 100,
        prefetch_bytes: 64 << 20,
        batch_wait: Duration::from_millis(5),
        args_limit: Json::USUAL_LIMIT,
        policy: Policy::DEFAULT,
        grace: Duration::from_secs(1),
    };
    let computation = Arc::new(Sums);
    let kind = KindName::default();
    let consumer = Consumer::new(store.clone(), broker, feed.clone(), kind, computation, consuming);
    let (health, stop) = (Health::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(dispatcher.run(health.part("dispatcher", true), stop.clone()));
    tasks.spawn(consumer.run(health.part("consumer", true), stop));
    tasks
}

async fn until_done(store: &AnyStore, id: WorkId) -> Work {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let work = work(store, id).await;
        if work.done() {
            return work;
        }
        assert!(Instant::now() < deadline, "not within 30 s, but {work:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What holds on both databases, of a store and a connection to its database.
async fn joins_and_repetitions(store: &AnyStore, connection: &mut (impl Connection + EnqueueConnection)) {
    let first = put(
        connection,
        &NewJob {
            unique: unique("u"),
            ..sum(4)
        },
    )
    .unwrap();
    let stored = work(store, first.id).await;
    assert_eq!((&stored.work_code, &stored.unique), (&first.work_code, &unique("u")));
    assert_eq!(stored.add_up_to().unwrap().get(), 4);
    assert!(!first.duplicate && first.work_code.as_str().starts_with("app-"));
    let events = store.events(first.id).await.unwrap().unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.variable, event.value.as_str()))
        .collect();
    assert_eq!(told, [(Variable::WorkCreated, "4")]);
    assert_eq!(store.stats(None).await.unwrap().works.app.pending, 1);

    let joined = put(
        connection,
        &NewJob {
            unique: unique("u"),
            ..sum(5)
        },
    )
    .unwrap();
    let expected = Enqueued {
        duplicate: true,
        ..first.clone()
    };
    assert_eq!(joined, expected);
    store.cancel(&Principal::Open, first.id, None).await.unwrap();
    let next = put(
        connection,
        &NewJob {
            unique: unique("u"),
            ..sum(5)
        },
    )
    .unwrap();
    assert!(!next.duplicate && next.id > first.id);

    let named = NewJob {
        message_id: Some("order 7".to_owned().try_into().unwrap()),
        run_at: Some(4_000_000_000),
        kind: "user.welcome.email".parse().unwrap(),
        args: Json::accepted(r#"{"b": 1.10, "a":"é\\u0000"}"#),
        ..sum(1)
    };
    let one = put(connection, &named).unwrap();
    let again = put(connection, &named).unwrap();
    assert_eq!((again.id, one.duplicate, again.duplicate), (one.id, false, true));
    let mail = work(store, one.id).await;
    assert_eq!(
        (mail.run_at, &mail.args, &mail.kind),
        (named.run_at, &named.args, &named.kind)
    );
    assert!(
        store.claim(&[], None, Duration::from_secs(30), 10).await.unwrap().len() == 1,
        "it waits"
    );

    let wrong = NewJob::new(KindName::default(), Json::accepted(r#"{"add_up_to":0}"#));
    assert!(put(connection, &wrong).is_err());
    let wrong = NewJob {
        run_at: Some(-1),
        ..sum(1)
    };
    assert!(put(connection, &wrong).is_err());
    assert_eq!(
        store.search(&pp_conformance::store::everything()).await.unwrap().len(),
        3
    );
}

/// Only a commit puts the work in.
async fn a_rollback(store: &AnyStore, connection: &mut (impl Connection + EnqueueConnection)) {
    let rolled_back: QueryResult<()> = connection.transaction(|connection| {
        enqueue(connection, &sum(4))?;
        Err(Error::RollbackTransaction)
    });
    assert_eq!(rolled_back, Err(Error::RollbackTransaction));
    assert!(
        store
            .search(&pp_conformance::store::everything())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.stats(None).await.unwrap().works.app.pending, 0);
}

mod embedded {
    use pp_lib::diesel::connection::SimpleConnection as _;
    use pp_lib::feed::memory::MemoryFeed;

    use super::*;

    fn connected(folder: &Path) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(folder.join("pp.sqlite").to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        connection
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn works_are_joined_by_unique_and_message_id() {
        let (store, folder) = crate::store::embedded::fresh().await;
        joins_and_repetitions(&store, &mut connected(folder.path())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rolled_back_transaction_leaves_nothing_and_a_committed_one_is_computed() {
        let (store, folder) = crate::store::embedded::fresh().await;
        let mut connection = connected(folder.path());
        a_rollback(&store, &mut connection).await;
        let feed: AnyFeed = Arc::new(MemoryFeed::new());
        let _running = running(&store, &feed, Duration::from_millis(50));
        let put = put(&mut connection, &sum(4)).unwrap();
        assert_eq!(until_done(&store, put.id).await.result, Some(Json::from(10)));
    }
}

mod on_servers {
    use pp_lib::diesel::pg::PgConnection;
    use pp_lib::diesel::{RunQueryDsl as _, sql_query};
    use pp_lib::feed::postgres::PostgresFeed;
    use pp_testkit::servers::{Kind, PrivateServers};
    use tokio_postgres::{Client, NoTls};

    use super::*;
    use crate::postgres::Database;

    async fn place() -> (Database, AnyStore, PgConnection) {
        let database = Database::create().await;
        let store: AnyStore = Arc::new(database.store(4).await);
        let connection = PgConnection::establish(&database.url).unwrap();
        (database, store, connection)
    }

    /// The id, code and duplicate of a call, or the SQLSTATE and message of its error.
    async fn call(client: &Client, arguments: &str) -> Result<(i64, String, bool), (String, String)> {
        let row = client
            .query_one(&format!("SELECT * FROM pp_enqueue({arguments})"), &[])
            .await;
        let row = row.map_err(|error| {
            let error = error.as_db_error().unwrap();
            (error.code().code().to_owned(), error.message().to_owned())
        })?;
        Ok((row.get("id"), row.get("work_code"), row.get("duplicate")))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn works_are_joined_by_unique_and_message_id() {
        let (_database, store, mut connection) = place().await;
        joins_and_repetitions(&store, &mut connection).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rolled_back_transaction_leaves_nothing_and_a_committed_one_wakes_the_dispatcher() {
        let (database, store, mut connection) = place().await;
        database.run("CREATE TABLE users (name text)").await;
        a_rollback(&store, &mut connection).await;
        for table in ["works", "events", "stat_deltas"] {
            assert_eq!(
                database.number(&format!("SELECT count(*) FROM {table}")).await,
                0,
                "{table}"
            );
        }
        let feed: AnyFeed = Arc::new(PostgresFeed::connect(&database.url, &pp_lib::tls::Trust::default()).unwrap());
        let _running = running(&store, &feed, Duration::from_secs(3600));
        for bound in [4, 5] {
            let put = connection.transaction(|connection| {
                sql_query("INSERT INTO users VALUES ('ada')").execute(connection)?;
                enqueue(connection, &sum(bound))
            });
            let work = until_done(&store, put.unwrap().id).await;
            assert_eq!(work.result, Some(Json::from(bound * (bound + 1) / 2)));
        }
        assert_eq!(database.number("SELECT count(*) FROM users").await, 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_said_and_puts_nothing_in() {
        let (database, _store, _) = place().await;
        let client = database.client().await;
        let sum = r#"'add_up_to', '{"add_up_to":4}'"#;
        let with = |options: &str| format!("{sum}, '{options}'");
        let long = "x".repeat(65_535);
        for (arguments, said) in [
            (r#"'Mail', '{}'"#.to_owned(), "a kind is words"),
            (r#"'a..b', '{}'"#.to_owned(), "a kind is words"),
            (format!("'{}', '{{}}'", "k".repeat(101)), "a kind is words"),
            ("NULL, '{}'".to_owned(), "a kind is words"),
            (r#"'pp.notice', '{}'"#.to_owned(), "made by PP alone"),
            (
                r#"'mail', '{}', '{"notify":"ftp://a"}'"#.to_owned(),
                "notify must be an http or https URL",
            ),
            ("'mail', NULL".to_owned(), "args must be JSON"),
            (format!("'mail', '\"{long}\"'"), "at most 65536 bytes"),
            (r#"'mail', '{"a":"x\u0000"}'"#.to_owned(), "U+0000"),
            (r#"'mail', '"\\\u0000"'"#.to_owned(), "U+0000"),
            (r#"'add_up_to', '{}'"#.to_owned(), "whole number from 1"),
            (r#"'add_up_to', '5'"#.to_owned(), "whole number from 1"),
            (r#"'add_up_to', '{"add_up_to":"5"}'"#.to_owned(), "whole number from 1"),
            (r#"'add_up_to', '{"add_up_to":5.0}'"#.to_owned(), "whole number from 1"),
            (
                r#"'add_up_to', '{"add_up_to":2147483648}'"#.to_owned(),
                "whole number from 1",
            ),
            (
                r#"'add_up_to', '{"add_up_to":5,"x":1}'"#.to_owned(),
                "whole number from 1",
            ),
            (with("[]"), "options must be an object"),
            (format!("{sum}, NULL"), "options must be an object"),
            (with(r#"{"retries":3}"#), "unknown option retries"),
            (with(r#"{"run_at":"now"}"#), "run_at must be Unix seconds"),
            (with(r#"{"run_at":-1}"#), "run_at must be Unix seconds"),
            (with(r#"{"run_at":253402300800}"#), "run_at must be Unix seconds"),
            (with(r#"{"run_at":null}"#), "run_at must be Unix seconds"),
            (with(r#"{"unique":""}"#), "unique must be a text of 1 to 255 bytes"),
            (with(r#"{"unique":7}"#), "unique must be a text of 1 to 255 bytes"),
            (with(r#"{"unique":"\u0000"}"#), "U+0000"),
            (
                with(&format!(r#"{{"message_id":"{}"}}"#, "é".repeat(128))),
                "message_id must be a text",
            ),
            (with(r#"{"wake":1}"#), "wake must be true or false"),
        ] {
            let (state, message) = call(&client, &arguments).await.unwrap_err();
            assert!(
                state == "22023" && message.contains(said),
                "{arguments}: {state} {message}"
            );
        }
        assert_eq!(database.number("SELECT count(*) FROM works").await, 0);
        let longest = format!("'mail', ' \"{}\" ', '{{\"run_at\":5}}'", &long[1..]);
        let (id, code, duplicate) = call(&client, &longest).await.unwrap();
        assert!(id == 1 && code.len() == 14 && !duplicate);
        assert_eq!(
            database
                .number("SELECT octet_length(args::text)::bigint FROM works")
                .await,
            65_536
        );
    }

    /// A role needs the function and nothing else. What it has in its own schemas does not matter.
    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_may_call_the_function_needs_no_table() {
        let (database, store, _) = place().await;
        let role = format!("pp_app_{}", std::process::id());
        let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
        database
            .run(&format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role}"))
            .await;
        let client = database.client().await;
        client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
        let job = r#"'add_up_to', '{"add_up_to":4}'"#;
        assert_eq!(call(&client, job).await.unwrap_err().0, "42501");
        database
            .run(&format!(
                "GRANT EXECUTE ON FUNCTION pp_enqueue(text, json, json) TO {role}"
            ))
            .await;
        let shadow = "CREATE TEMP TABLE works (id bigint); CREATE TEMP TABLE events (id bigint);
            SET search_path = pg_temp, public";
        client.batch_execute(shadow).await.unwrap();
        let (id, code, _) = call(&client, job).await.unwrap();
        let put = work(&store, WorkId(id)).await;
        assert_eq!(
            (put.work_code.as_str(), put.add_up_to().unwrap().get()),
            (code.as_str(), 4)
        );
        assert_eq!(
            client.query_one("SELECT * FROM works", &[]).await.err().map(|_| ()),
            Some(())
        );
        let denied = client.batch_execute("SELECT * FROM public.works").await.unwrap_err();
        assert_eq!(denied.code().unwrap().code(), "42501");
        std::mem::drop(client);
        database.run(&drop).await;
    }

    /// The second of two transactions waits for the first one, and joins its work if there is one.
    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_transactions_with_one_unique_the_second_waits_for_the_first() {
        let (database, _store, _) = place().await;
        let job = r#"'add_up_to', '{"add_up_to":4}', '{"unique":"u"}'"#;
        for (end, joins) in [("ROLLBACK", false), ("COMMIT", true)] {
            let (first, second) = (database.client().await, database.client().await);
            database
                .run("UPDATE works SET status = 'cancelled', due_at = NULL")
                .await;
            first.batch_execute("BEGIN").await.unwrap();
            let (id, ..) = call(&first, job).await.unwrap();
            second.batch_execute("SET application_name = 'pp'").await.unwrap();
            let waiting = tokio::spawn(async move { call(&second, job).await.unwrap() });
            database.until_one_waits().await;
            first.batch_execute(end).await.unwrap();
            let (joined, _, duplicate) = waiting.await.unwrap();
            assert_eq!((joined == id, duplicate), (joins, joins), "{end}");
        }
    }

    /// A transaction that wakes nobody can be prepared. The dispatcher finds its work when it polls.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_that_wakes_nobody_can_be_prepared() {
        let servers = PrivateServers::temporary(&[Kind::Postgres]).unwrap();
        let url = servers.url(Kind::Postgres).unwrap();
        let store = pp_lib::store::postgres::PostgresStore::open(pp_lib::store::postgres::PostgresConfig {
            trust: pp_lib::tls::Trust::default(),
            url: url.clone(),
            pool: 4,
            timeout: crate::postgres::TIMEOUT,
        });
        let store = store.await.unwrap();
        store.migrate(crate::postgres::TIMEOUT).await.unwrap();
        let store: AnyStore = Arc::new(store);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let wakes = r#"'add_up_to', '{"add_up_to":4}'"#;
        client.batch_execute("BEGIN").await.unwrap();
        call(&client, wakes).await.unwrap();
        let refused = client.batch_execute("PREPARE TRANSACTION 'one'").await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "0A000", "{refused}");
        client.batch_execute("ROLLBACK; BEGIN").await.unwrap();
        let (id, ..) = call(&client, &format!(r#"{wakes}, '{{"wake":false}}'"#)).await.unwrap();
        client.batch_execute("PREPARE TRANSACTION 'two'").await.unwrap();
        assert!(store.by_ids(&[WorkId(id)]).await.unwrap().is_empty());
        client.batch_execute("COMMIT PREPARED 'two'").await.unwrap();
        let feed: AnyFeed = Arc::new(PostgresFeed::connect(&url, &pp_lib::tls::Trust::default()).unwrap());
        let _running = running(&store, &feed, Duration::from_millis(100));
        assert_eq!(until_done(&store, WorkId(id)).await.result, Some(Json::from(10)));
    }
}
