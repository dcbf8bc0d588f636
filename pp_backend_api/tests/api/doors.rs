//! What every answer carries, what pages of other origins may do, and what one key or one address may take.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU32;
use std::thread::sleep;
use std::time::Duration;

use pp_backend_api::Config;
use pp_testkit::client::{Answer, send};

use super::access::{bearer, key};
use super::embedded::{Embedded, server, server_with};
use super::faults::until;
use super::raw::{connect, exchange, rest};
use super::server::CONFIG;

const APP: &str = "https://app.example.com";

fn get(server: &Embedded, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(server.address, "GET", path, headers, None)
}

/// The code of an answer that must be a problem of this status.
fn code(answer: &Answer, status: u16) -> String {
    answer.problem(status);
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_answer_has_a_request_id_and_is_taken_for_what_it_is() {
    let server = server();
    server.created(5);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/work/1"),
        ("GET", "/live"),
        ("GET", "/ui/js/app.js"),
        ("GET", "/stats"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/nothing"),
        ("GET", "/work/x"),
        ("GET", "/work/2"),
        ("PUT", "/work"),
        ("POST", "/work?x=1"),
    ] {
        let answer = send(server.address, method, path, &[], None);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("x-request-id").len(), 36, "{path}");
        let own = send(
            server.address,
            method,
            path,
            &[("x-request-id", "a:b/c-1_2.3+4=")],
            None,
        );
        assert_eq!(own.header("x-request-id"), "a:b/c-1_2.3+4=", "{path}");
    }
    let foreign = send(server.address, "GET", "/", &[("host", "evil.example")], None);
    assert_eq!(code(&foreign, 421), "unknown_host");
    assert_eq!(foreign.header("x-request-id").len(), 36);
    let below = exchange(&server, "NONSENSE\r\n\r\n");
    assert!(below.contains("\r\nx-request-id: ") && below.contains("\r\nx-content-type-options: nosniff\r\n"));
    assert!(below.contains("\r\ncross-origin-resource-policy: same-origin\r\n"));
    assert!(below.contains(r#""code":"invalid_request""#), "{below}");
}

#[test]
fn an_id_that_could_do_harm_is_replaced() {
    let server = server();
    for id in ["", "a b", "<script>", "a\"b", &"x".repeat(129)] {
        let answer = get(&server, "/stats", &[("x-request-id", id)]);
        assert_eq!(answer.header("x-request-id").len(), 36, "{id:?}");
    }
    let longest = "x".repeat(128);
    assert_eq!(
        get(&server, "/stats", &[("x-request-id", &longest)]).header("x-request-id"),
        longest
    );
}

#[test]
fn a_problem_has_a_code_for_programs() {
    let server = server();
    let created = server.created(5);
    let post = |path: &str, body: &str, headers: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/json")], headers].concat();
        send(server.address, "POST", path, &headers, Some(body.as_bytes()))
    };
    assert_eq!(code(&get(&server, "/work/77", &[]), 404), "not_found");
    assert_eq!(code(&get(&server, "/work/x", &[]), 400), "invalid_request");
    assert_eq!(
        code(&send(server.address, "PUT", "/work", &[], None), 405),
        "method_not_allowed"
    );
    assert_eq!(code(&post("/work", r#"{"add_up_to":0}"#, &[]), 422), "unprocessable");
    assert_eq!(code(&post("/work/1/retry", "", &[]), 409), "wrong_status");
    assert_eq!(
        code(&post("/work/1/cancel", "", &[("if-match", "\"99\"")]), 412),
        "other_version"
    );
    let key = [("idempotency-key", "k")];
    assert_eq!(post("/work", "{}", &key).status, 200);
    assert_eq!(
        code(&post("/work", r#"{"add_up_to":7}"#, &key), 422),
        "idempotency_key_reused"
    );
    let text = send(
        server.address,
        "POST",
        "/work",
        &[("content-type", "text/plain")],
        Some(b"{}"),
    );
    assert_eq!(code(&text, 415), "unsupported_media_type");
    assert_eq!(created["id"], 1);
}

fn with_app() -> Embedded {
    server_with(Config {
        origins: vec![APP.parse().unwrap()],
        ..CONFIG
    })
}

#[test]
fn pages_of_a_named_origin_may_do_what_a_key_may() {
    let server = with_app();
    let asks = [
        ("origin", APP),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization,content-type,if-match"),
    ];
    let preflight = send(server.address, "OPTIONS", "/work/1", &asks, None);
    assert_eq!(preflight.status, 200, "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), APP);
    assert!(
        preflight.header("access-control-allow-methods").contains("PATCH"),
        "{preflight:?}"
    );
    assert!(
        preflight.header("access-control-allow-headers").contains("if-match"),
        "{preflight:?}"
    );
    assert_eq!(
        preflight.header("access-control-allow-credentials"),
        "",
        "cookies stay out"
    );

    let headers = [
        ("origin", APP),
        ("sec-fetch-site", "cross-site"),
        ("content-type", "application/json"),
    ];
    let created = send(server.address, "POST", "/work", &headers, Some(br#"{"add_up_to":5}"#));
    assert_eq!(
        (created.status, created.header("access-control-allow-origin")),
        (200, APP)
    );
    assert!(
        created.header("access-control-expose-headers").contains("etag"),
        "{created:?}"
    );
    // An error is readable too.
    let missing = get(&server, "/work/77", &[("origin", APP)]);
    assert_eq!(
        (missing.status, missing.header("access-control-allow-origin")),
        (404, APP)
    );
}

#[test]
fn pages_of_other_origins_read_and_change_nothing() {
    for server in [with_app(), server()] {
        server.created(5);
        for origin in [
            "https://evil.example",
            "https://app.example.com.evil.example",
            "http://app.example.com",
            "null",
        ] {
            let read = get(&server, "/work/1", &[("origin", origin)]);
            assert_eq!(read.header("access-control-allow-origin"), "", "{origin}");
            let asks = [("origin", origin), ("access-control-request-method", "POST")];
            let preflight = send(server.address, "OPTIONS", "/work", &asks, None);
            assert_eq!(preflight.header("access-control-allow-origin"), "", "{origin}");
            let change = send(server.address, "POST", "/work", &[("origin", origin)], None);
            assert_eq!(code(&change, 403), "forbidden", "{origin}");
            let both = [("origin", APP), ("origin", origin)];
            assert_eq!(
                send(server.address, "POST", "/work", &both, None).status,
                403,
                "{origin}"
            );
        }
        assert_eq!(server.count(), 1);
    }
}

#[test]
fn links_begin_with_the_path_that_a_proxy_takes_away() {
    let plain = server();
    let behind = server_with(Config {
        prefix: "/tools/pp".parse().unwrap(),
        ..CONFIG
    });
    for (server, prefix) in [(&plain, ""), (&behind, "/tools/pp")] {
        let post = |path: &str, body: &str, headers: &[(&str, &str)]| {
            let headers = [&[("content-type", "application/json")], headers].concat();
            send(server.address, "POST", path, &headers, Some(body.as_bytes()))
        };
        let once = [("idempotency-key", "once")];
        for _ in 0..2 {
            let created = post("/work", r#"{"add_up_to":5}"#, &once);
            assert_eq!(created.header("location"), format!("{prefix}/work/1"));
        }
        post("/work", "", &[]);
        assert_eq!(post("/work/1/cancel", "", &[]).status, 200, "a second event");
        let demanded = post("/work/demand", "", &[]);
        let code = demanded.json()["work_code"].as_str().unwrap().to_owned();
        assert_eq!(demanded.header("location"), format!("{prefix}/work/code/{code}"));
        for (path, next) in [
            ("/work/search?limit=1", "/work/search?limit=1&before="),
            ("/work/1/events?limit=1", "/work/1/events?limit=1&after="),
        ] {
            let link = get(server, path, &[]).header("link").to_owned();
            assert!(link.starts_with(&format!("<{prefix}{next}")), "{link}");
        }
        let routes = get(server, "/", &[]).json()["routes"].clone();
        let listed = |path: &str| routes.as_array().unwrap().iter().any(|route| route["path"] == path);
        assert!(
            listed(&format!("{prefix}/work/{{id}}")) && listed(&format!("{prefix}/")),
            "{routes}"
        );
        let cookie = send(server.address, "DELETE", "/session", &[], None)
            .header("set-cookie")
            .to_owned();
        assert!(cookie.contains(&format!("; Path={prefix}/;")), "{cookie}");
    }
}

/// A server for which this many requests a second are enough.
fn limited(per_second: u32) -> Embedded {
    server_with(Config {
        rate: NonZeroU32::new(per_second),
        ..CONFIG
    })
}

#[test]
fn beyond_the_rate_a_key_waits_and_others_do_not() {
    let server = limited(5);
    let (fast, slow) = (key(&server, "fast", "read"), key(&server, "slow", "read"));
    let read = |key: &str| get(&server, "/stats", &[("authorization", bearer(key).as_str())]);
    // The key is known within two seconds; until then the requests are the address's.
    let asks = || {
        sleep(Duration::from_millis(300));
        get(&server, "/stats", &[]).status == 401
    };
    until("a key is asked for", asks);
    let first = read(&fast);
    assert_eq!((first.status, first.header("ratelimit")), (200, r#""default";r=4;t=1"#));
    assert_eq!(first.header("ratelimit-policy"), r#""default";q=5;w=1"#);
    let refused = (0..20)
        .map(|_| read(&fast))
        .find(|answer| answer.status != 200)
        .unwrap();
    assert_eq!(code(&refused, 429), "too_many_requests");
    assert_eq!(
        (refused.header("retry-after"), refused.header("ratelimit")),
        ("1", r#""default";r=0;t=1"#)
    );
    assert_eq!(read(&slow).status, 200);
    // Health is never counted.
    assert!((0..20).all(|_| get(&server, "/health/live", &[]).status == 200));
    sleep(Duration::from_millis(1100));
    assert_eq!(read(&fast).status, 200);
}

#[test]
fn a_key_without_the_scope_counts_for_itself_and_not_for_its_address() {
    let server = limited(5);
    let (reader, other) = (key(&server, "reader", "read"), key(&server, "other", "read"));
    let post = |key: &str| {
        let headers = [("authorization", bearer(key))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        send(server.address, "POST", "/work", &headers, None)
    };
    until("a key is asked for", || {
        sleep(Duration::from_millis(300));
        get(&server, "/stats", &[]).status == 401
    });
    let answers: Vec<Answer> = (0..20).map(|_| post(&reader)).collect();
    assert_eq!(code(&answers[0], 403), "missing_scope");
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(code(refused, 429), "too_many_requests");
    assert_eq!(code(&get(&server, "/stats", &[]), 401), "unauthorized");
    assert_eq!(code(&post(&other), 403), "missing_scope");
}

#[test]
fn wrong_keys_count_for_the_address_that_tries_them() {
    let server = limited(5);
    key(&server, "one", "read");
    sleep(Duration::from_millis(2500));
    let tried = |number: u32| {
        let guess = bearer(&format!("pp_{number:027}"));
        get(&server, "/stats", &[("authorization", guess.as_str())]).status
    };
    let statuses: Vec<u16> = (0..20).map(tried).collect();
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn an_address_with_enough_connections_gets_no_more() {
    let server = server_with(Config {
        peer_connections: Some(3),
        ..CONFIG
    });
    // Each of them has had an answer, so all are counted.
    let held: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = connect(&server);
            write!(stream, "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let refused = rest(&mut connect(&server));
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nretry-after: 1\r\n"),
        "{refused}"
    );
    assert!(refused.contains(r#""code":"too_many_connections""#), "{refused}");
    drop(held);
    let health = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    until("connections that ended count no more", || {
        exchange(&server, health).contains("200 OK")
    });
}

#[test]
fn an_address_with_enough_streams_gets_no_more_and_still_reads() {
    let server = server_with(Config {
        peer_streams: Some(2),
        ..CONFIG
    });
    let open = || {
        let mut stream = connect(&server);
        write!(stream, "GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (&status == b"HTTP/1.1 200").then_some(stream)
    };
    let held = [open().unwrap(), open().unwrap()];
    for path in ["/stream", "/stats/stream"] {
        assert_eq!(code(&get(&server, path, &[]), 503), "too_many_streams");
    }
    assert_eq!(get(&server, "/stats", &[]).status, 200);
    drop(held);
    until("streams that ended count no more", || open().is_some());
}
