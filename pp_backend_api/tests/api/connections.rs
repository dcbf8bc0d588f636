//! Old clients and proxies, upgrades, and clients that keep their connections open.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use pp_backend_api::Config;
use pp_lib::runtime::{Health, Metrics};
use pp_testkit::client::send;
use tokio_util::sync::CancellationToken;

use super::embedded::{server, server_with};
use super::raw::{JSON, connect, exchange, rest};
use super::server::CONFIG;

/// nginx by default sends HTTP/1.0 upstream, without a length if there is no body.
#[test]
fn a_post_without_a_body_through_an_old_proxy_creates_a_work() {
    let server = server();
    for (path, status) in [("/work", 200), ("/work/demand", 202)] {
        for host in ["Host: 127.0.0.1:3000\r\n", ""] {
            let head = format!("POST {path} HTTP/1.0\r\n{host}Connection: close\r\nUser-Agent: curl/7.88.1\r\n\r\n");
            let answer = exchange(&server, &head);
            assert!(answer.starts_with(&format!("HTTP/1.0 {status} ")), "{answer}");
            assert!(answer.contains(r#""work_code":"#), "{answer}");
        }
    }
    let body = r#"{"add_up_to":5}"#;
    let length = body.len();
    let answer = exchange(
        &server,
        &format!("POST /work HTTP/1.0\r\n{JSON}content-length: {length}\r\n\r\n{body}"),
    );
    assert!(
        answer.starts_with("HTTP/1.0 200 ") && answer.contains(r#""add_up_to":5"#),
        "{answer}"
    );
    // A kept connection serves another request.
    let kept = "POST /work HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answer = exchange(&server, &format!("{kept}{kept}POST /work HTTP/1.0\r\n\r\n"));
    assert_eq!(answer.matches("HTTP/1.0 200 ").count(), 3, "{answer}");
}

#[test]
fn an_upgrade_to_another_protocol_is_ignored() {
    let server = server();
    let body = r#"{"add_up_to":5}"#;
    for protocol in ["websocket", "h2c", "WebSocket"] {
        let upgrade = format!("Upgrade: {protocol}\r\nConnection: Upgrade\r\nhost: localhost\r\n");
        let mut stream = connect(&server);
        let length = body.len();
        let post = format!("POST /work HTTP/1.1\r\n{upgrade}{JSON}content-length: {length}\r\n\r\n{body}");
        let get = format!("GET /work/1 HTTP/1.1\r\n{upgrade}\r\n");
        let last = "GET /work/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        // The connection stays open, so a read to its end would wait for ever.
        stream.write_all(format!("{post}{get}{last}").as_bytes()).unwrap();
        let answer = rest(&mut stream);
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("upgrade"), "{answer}");
    }
    assert_eq!(server.count(), 3);
}

#[test]
fn a_stream_to_an_old_client_has_no_chunks() {
    let server = server();
    let work = server.created(5);
    for path in [
        "/stream".to_owned(),
        "/stats/stream".to_owned(),
        format!("/work/{}/stream", work["id"]),
    ] {
        let mut stream = connect(&server);
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while !seen.contains("data: ") {
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        assert!(
            !head.contains("transfer-encoding") && !head.contains("content-length"),
            "{head}"
        );
        assert!(body.starts_with("retry: 1000\n"), "{body}");
    }
}

#[test]
fn a_listener_of_its_own_answers_while_all_connections_are_taken() {
    let server = server_with(Config {
        connections: 1,
        ..CONFIG
    });
    // Each of its threads takes one at least.
    let idle: Vec<_> = (0..64).map(|_| connect(&server)).collect();
    let mut waiting = connect(&server);
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting.read(&mut [0; 64]).is_err(), "it is answered");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let metrics = Metrics::new(|| "pp_ready 1\n".to_owned());
    let serving = pp_http::serve(listener, Health::new(), metrics, shutdown.clone());
    let serving = server.runtime.spawn(serving);
    for (path, body) in [("/health/live", r#"{"status":"live"}"#), ("/metrics", "pp_ready 1\n")] {
        let answer = send(address, "GET", path, &[], None);
        assert_eq!((answer.status, &*answer.body), (200, body), "{path}");
    }
    shutdown.cancel();
    server.runtime.block_on(serving).unwrap().unwrap();

    drop(idle);
    waiting.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(waiting.read(&mut [0; 64]).unwrap() > 0, "it is its turn");
}
