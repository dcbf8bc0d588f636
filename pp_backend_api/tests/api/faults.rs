//! Answers while the store is gone, refuses, fails, hangs or is overloaded.

use std::time::{Duration, Instant};

use pp_backend_api::Config;
use pp_conformance::scripted::{Call, Step};
use pp_lib::serving::StoreOptions;
use pp_lib::store::{Begun, StoreError};

use super::server::{CONFIG, Server};
use super::tripped::server;
use pp_testkit::client::{Answer, send};

const PATHS: [(&str, &str); 12] = [
    ("POST", "/work"),
    ("POST", "/work/bulk"),
    ("PATCH", "/work/1"),
    ("DELETE", "/work/1"),
    ("GET", "/deadletter"),
    ("POST", "/deadletter/redrive?all=true"),
    ("DELETE", "/deadletter?all=true"),
    ("GET", "/work/1"),
    ("GET", "/work/code/api-0000000000"),
    ("GET", "/work/search"),
    ("GET", "/work/1/events"),
    ("GET", "/stats"),
];

/// Waits for a condition.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Each call, and again with a key if it may have one.
fn all(server: &Server) -> impl Iterator<Item = Answer> {
    let keys = [&[][..], &[("idempotency-key", "k")]];
    let calls = PATHS
        .iter()
        .flat_map(move |(method, path)| keys.map(|key| (*method, *path, key)));
    let calls = calls.filter(|(method, _, key)| key.is_empty() || *method == "POST");
    calls.map(|(method, path, key)| {
        let body = match (method, path) {
            (_, "/work/bulk") => Some("[{}]"),
            ("PATCH", _) => Some(r#"{"add_up_to":5}"#),
            _ => None,
        };
        let headers = [&[("content-type", "application/json")], key].concat();
        send(server.address, method, path, &headers, body.map(str::as_bytes))
    })
}

#[test]
fn an_unreachable_store_is_503_until_it_returns() {
    let (store, server, _folder) = server(CONFIG, StoreOptions::default());
    store.fail(Call::ALL, StoreError::Unavailable("secret driver text".to_owned()));
    for answer in all(&server) {
        let detail = answer.problem(503);
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!detail.contains("secret"), "{detail}");
    }
    until("readiness sees it", || {
        server.get("/health/ready").body.contains("the database is unavailable")
    });
    let unready = server.get("/health/ready");
    let detail = unready.problem(503);
    assert!(detail.starts_with("store: the database is unavailable"), "{detail}");
    assert_eq!(server.get("/health/live").status, 200);

    store.pass_on(Call::ALL);
    assert_eq!(send(server.address, "POST", "/work", &[], None).status, 200);
    until("readiness sees it", || server.get("/health/ready").status == 200);
}

#[test]
fn a_failing_store_is_500_without_its_message() {
    for step in [
        || Step::Fail(StoreError::Rejected("secret: SELECT".to_owned())),
        || Step::Panic,
    ] {
        let (store, server, _folder) = server(CONFIG, StoreOptions::default());
        store.on(Call::ALL, move |_| step());
        for answer in all(&server) {
            let detail = answer.problem(500);
            assert!(!detail.contains("secret") && !detail.contains("script"), "{detail}");
        }
        store.pass_on(Call::ALL);
        assert_eq!(send(server.address, "POST", "/work", &[], None).status, 200);
    }
}

#[test]
fn a_hanging_store_is_503_in_time() {
    let config = Config {
        request_timeout: Duration::from_millis(200),
        ..CONFIG
    };
    let (store, server, _folder) = server(config, StoreOptions::default());
    let held = store.hold(Call::ALL);
    for answer in all(&server) {
        answer.problem(503);
        assert_eq!(answer.header("retry-after"), "1");
    }
    held.end();
}

#[test]
fn a_key_in_flight_elsewhere_is_409_after_a_while() {
    let (store, server, _folder) = server(CONFIG, StoreOptions::default());
    store.on(&[Call::Begin], |_| Step::answer(vec![Begun::InFlight]));
    let started = Instant::now();
    let answer = send(server.address, "POST", "/work", &[("idempotency-key", "k")], None);
    assert!(answer.problem(409).contains("is running"));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(send(server.address, "POST", "/work", &[], None).status, 200);
}

#[test]
fn a_full_mailbox_answers_503_and_accepted_requests_complete() {
    let options = StoreOptions {
        mailbox: 4,
        ..StoreOptions::default()
    };
    let (store, server, _folder) = server(CONFIG, options);
    let held = store.hold(&[Call::Create]);
    let address = server.address;
    let ask = || std::thread::spawn(move || send(address, "POST", "/work", &[], None));
    // One group hangs, four requests wait for it, and the rest is refused.
    let clients: Vec<_> = (0..30).map(|_| ask()).collect();
    until("the rest is refused", || {
        clients.iter().filter(|client| client.is_finished()).count() >= 20
    });
    // Reads have a separate mailbox, and the health pages have none.
    assert_eq!(server.get("/health/live").status, 200);
    assert_eq!(server.get("/work/search").status, 200);
    held.end();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(taken.len() >= 5, "{}", taken.len());
    assert!(refused.len() >= 20, "{}", refused.len());
    for answer in refused {
        assert!(answer.problem(503).contains("too many"));
        assert_eq!(answer.header("retry-after"), "1");
    }
}

#[test]
fn a_stop_finishes_running_requests() {
    let (store, mut server, _folder) = server(CONFIG, StoreOptions::default());
    let held = store.hold(Call::ALL);
    let address = server.address;
    let client = std::thread::spawn(move || send(address, "POST", "/work", &[], None));
    until("the request is under way", || store.calls(Call::Create) == 1);
    server.shut_down();
    until("no new request is accepted", || {
        std::net::TcpStream::connect(address).is_err()
    });
    held.end();
    assert_eq!(client.join().unwrap().status, 200);
    server.stopped();
}
