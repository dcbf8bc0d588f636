//! The budget for the bodies of all running requests.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use pp_backend_api::Config;

use super::embedded::{Embedded, server_with};
use super::faults::until;
use super::raw::{JSON, assert_problem, connect, rest};
use super::server::CONFIG;
use pp_testkit::client::send;

const LIMIT: usize = 64 * 1024;

/// Room for one body of the largest size and several small ones.
fn narrow() -> Embedded {
    server_with(Config {
        body_limit: LIMIT,
        body_budget: 2 * LIMIT,
        // A withheld body must hold its room as long as the test looks.
        request_timeout: Duration::from_secs(60),
        ..CONFIG
    })
}

/// A request that sends a part of its body and withholds the rest.
fn withheld(server: &Embedded, framing: &str, sent: &str) -> TcpStream {
    let mut stream = connect(server);
    write!(
        stream,
        "POST /work HTTP/1.1\r\nhost: localhost\r\n{JSON}{framing}\r\n\r\n{sent}"
    )
    .unwrap();
    stream
}

#[test]
fn a_body_beyond_the_budget_is_503_and_small_ones_continue() {
    let server = narrow();
    let most = " ".repeat(LIMIT - 100);
    let declared = format!("content-length: {LIMIT}");
    let chunked = format!("{:x}\r\n{most}\r\n", most.len());
    for (framing, sent) in [(declared.as_str(), &most), ("transfer-encoding: chunked", &chunked)] {
        // None of them ends before it is looked at: the room of a client that left is freed a moment later.
        let mut held = Vec::new();
        until("a withheld body has no room", || {
            let mut body = withheld(&server, framing, sent);
            body.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            if body.peek(&mut [0]).is_err() {
                held.push(body);
                return false;
            }
            body.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let answer = rest(&mut body);
            assert_problem(&answer, 503);
            assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
            true
        });
        let refused = send(
            server.address,
            "POST",
            "/work/bulk",
            &[("content-type", "application/json")],
            Some(most.as_bytes()),
        );
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
        for bound in 1..=20 {
            assert_eq!(server.created(bound)["add_up_to"], bound);
        }
        // A client that only announces a body occupies no room.
        held.extend((0..50).map(|_| withheld(&server, framing, "")));
        assert_eq!(server.created(5)["add_up_to"], 5);
        drop(held);
        until("there is room again", || {
            let body = format!("{}{{}}", " ".repeat(LIMIT - 100));
            send(
                server.address,
                "POST",
                "/work",
                &[("content-type", "application/json")],
                Some(body.as_bytes()),
            )
            .status
                == 200
        });
    }
}

#[test]
fn a_bulk_request_counts_its_works_in_the_budget() {
    let headers = [("content-type", "application/json")];
    let bulk = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    let server = narrow();
    let refused = send(
        server.address,
        "POST",
        "/work/bulk",
        &headers,
        Some(bulk(1000).as_bytes()),
    );
    refused.problem(503);
    let created = send(
        server.address,
        "POST",
        "/work/bulk",
        &headers,
        Some(bulk(100).as_bytes()),
    );
    assert_eq!(created.json().as_array().unwrap().len(), 100);
    assert_eq!(server.count(), 100);
}
