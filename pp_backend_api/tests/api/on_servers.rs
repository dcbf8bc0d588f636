//! The core cases with PostgreSQL. Each test has its own database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pp_lib::serving::StoreOptions;
use pp_lib::store::AnyStore;
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use url::Url;

use super::keys::{are_one, at_once};
use super::server::{CONFIG, Server};
use pp_testkit::client::send;

/// A server with an empty database, which is dropped after it.
pub(crate) struct OnPostgres {
    server: Option<Server>,
    database: String,
    pub(crate) url: String,
}

impl Drop for OnPostgres {
    fn drop(&mut self) {
        drop(self.server.take());
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database);
        runtime().block_on(execute(&[&drop]));
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn postgres() -> Url {
    let url = std::env::var("PP_TEST_POSTGRES_URL")
        .expect("PP_TEST_POSTGRES_URL is not set: `make test` starts a PostgreSQL server and sets it");
    url.parse().expect("PP_TEST_POSTGRES_URL is no URL")
}

async fn execute(statements: &[&str]) {
    let (client, connection) = tokio_postgres::connect(postgres().as_str(), NoTls).await.unwrap();
    tokio::spawn(connection);
    for statement in statements {
        client.batch_execute(statement).await.unwrap();
    }
}

pub(crate) fn server() -> OnPostgres {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let database = format!("pp_api_{}_{number}", std::process::id());
    let mut url = postgres();
    url.set_path(&database);
    let url = url.to_string();
    let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
    runtime().block_on(execute(&[&drop, &format!("CREATE DATABASE {database}")]));
    OnPostgres {
        server: Some(over(&url)),
        database,
        url,
    }
}

/// Another API on the same database, as in another process.
fn over(url: &str) -> Server {
    let runtime = runtime();
    let store = runtime.block_on(async {
        let config = PostgresConfig {
            trust: pp_lib::tls::Trust::default(),
            url: url.to_owned(),
            pool: 4,
            timeout: Duration::from_secs(5),
        };
        let store = PostgresStore::open(config).await.unwrap();
        store.migrate(Duration::from_secs(30)).await.unwrap();
        Arc::new(store) as AnyStore
    });
    Server::start(runtime, store, CONFIG, StoreOptions::default())
}

impl std::ops::Deref for OnPostgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.server.as_ref().unwrap()
    }
}

#[test]
fn a_created_work_is_found_and_has_its_event() {
    let server = server();
    let work = server.created(100);
    assert_eq!(
        (&work["add_up_to"], &work["status"], &work["version"]),
        (&100.into(), &"pending".into(), &1.into())
    );
    let (id, code) = (&work["id"], work["work_code"].as_str().unwrap());
    assert_eq!(server.get(&format!("/work/{id}")).json(), work);
    assert_eq!(server.get(&format!("/work/code/{code}")).json(), work);
    let events = server.get(&format!("/work/{id}/events")).json();
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    assert_eq!(
        (&events[0]["variable"], &events[0]["value"]),
        (&"work/created".into(), &"100".into())
    );
    let random = send(server.address, "POST", "/work", &[], None).json();
    assert!((1..=99).contains(&random["add_up_to"].as_i64().unwrap()), "{random}");
}

#[test]
fn searches_filter_page_and_take_their_prefix_literally() {
    let server = server();
    for bound in 1..=5 {
        server.created(bound);
    }
    let page = server.get("/work/search?work_code=api-&limit=3");
    assert_eq!(page.json().as_array().unwrap().len(), 3);
    let next = page
        .header("link")
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap()
        .to_owned();
    let rest = server.get(&next);
    assert_eq!((rest.json().as_array().unwrap().len(), rest.header("link")), (2, ""));
    for query in [
        "work_code=consumer-",
        "done=true",
        "status=failed",
        "work_code=api-%25",
        "work_code=%27",
        "since=9999999999",
    ] {
        assert_eq!(server.get(&format!("/work/search?{query}")).body, "[]", "{query}");
    }
    server.get("/work/search?work_code=api-%00").problem(400);
}

#[test]
fn a_missing_work_or_an_invalid_request_is_a_problem() {
    let server = server();
    for path in [
        "/work/1",
        "/work/9223372036854775807",
        "/work/1/events",
        "/work/code/api-0000000000",
        "/work/code/%00",
    ] {
        server.get(path).problem(404);
    }
    server.get("/work/x").problem(400);
    server.post(r#"{"add_up_to":2147483648}"#).problem(422);
    assert_eq!(server.get("/work").body, "[]");
}

#[test]
fn one_key_at_two_services_makes_one_work() {
    let one = server();
    let other = over(&one.url);
    for round in 1..=5 {
        let answers = at_once(&[&one, &other], 20, &format!("k{round}"));
        are_one(&answers);
        assert_eq!(one.count(), round);
    }
}
