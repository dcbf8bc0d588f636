//! Requests that only a raw socket can send: slow, too large, broken.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use pp_backend_api::Config;

use super::embedded::{Embedded, server, server_with};
use super::server::CONFIG;

pub(crate) const JSON: &str = "content-type: application/json\r\n";

pub(crate) fn connect(server: &Embedded) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Reads until the server closes.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // The server closed with bytes of the client unread.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&answer)),
    }
    String::from_utf8(answer).unwrap()
}

/// Sends, and reads until the server closes.
pub(crate) fn exchange(server: &Embedded, bytes: &str) -> String {
    let mut stream = connect(server);
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes.as_bytes());
    rest(&mut stream)
}

pub(crate) fn assert_problem(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(
        answer.contains("content-type: application/problem+json\r\n"),
        "{answer}"
    );
    assert!(answer.contains(&format!(r#""status":{status}"#)), "{answer}");
}

/// A server with short timeouts.
fn hasty() -> Embedded {
    server_with(Config {
        request_timeout: Duration::from_millis(300),
        ..CONFIG
    })
}

#[test]
fn a_body_over_the_limit_is_413_whether_declared_or_not() {
    let server = server();
    let declared = format!("POST /work HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 65537\r\n\r\n{{");
    assert_problem(&exchange(&server, &declared), 413);
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let chunked = format!(
        "POST /work HTTP/1.1\r\nhost: localhost\r\n{JSON}transfer-encoding: chunked\r\n\r\n{}",
        chunk.repeat(17)
    );
    assert_problem(&exchange(&server, &chunked), 413);
    // Within the limit both framings work.
    let padding = " ".repeat(65_536 - 15);
    let full = format!(
        "POST /work HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{JSON}content-length: 65536\r\n\r\n{{\"add_up_to\":5}}{padding}"
    );
    assert!(exchange(&server, &full).starts_with("HTTP/1.1 200 "));
    let chunked = format!(
        "POST /work HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{JSON}transfer-encoding: chunked\r\n\r\nf\r\n{{\"add_up_to\":5}}\r\n0\r\n\r\n"
    );
    assert!(exchange(&server, &chunked).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_slow_body_is_408_and_the_connection_ends() {
    let server = hasty();
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut stream = connect(&server);
        let head = format!("POST /work HTTP/1.1\r\nhost: localhost\r\n{JSON}{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // Other clients are served meanwhile.
        assert_eq!(server.created(5)["add_up_to"], 5);
        let answer = rest(&mut stream);
        assert_problem(&answer, 408);
    }
}

#[test]
fn a_slow_head_is_408_on_a_new_connection_and_on_one_that_was_used() {
    let server = hasty();
    let good = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for before in ["", good] {
        for begun in ["G", "GET /work/1 HTTP/1.1\r\nhost"] {
            let mut stream = connect(&server);
            stream.write_all(format!("{before}{begun}").as_bytes()).unwrap();
            assert_eq!(server.created(5)["add_up_to"], 5);
            let answer = rest(&mut stream);
            let last = answer.rfind("HTTP/1.1 ").unwrap();
            assert_eq!(last > 0, !before.is_empty(), "{answer}");
            assert_problem(&answer[last..], 408);
        }
    }
    assert_problem(&rest(&mut connect(&server)), 408);
}

#[test]
fn a_head_too_large_is_431_and_a_target_too_long_is_414() {
    let server = server();
    let head = format!(
        "GET /work HTTP/1.1\r\nhost: localhost\r\nx-large: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    assert_problem(&exchange(&server, &head), 431);
    let target = format!("GET /work?{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(100_000));
    assert_problem(&exchange(&server, &target), 414);
    let many = "x-many: x\r\n".repeat(1000);
    let answer = exchange(&server, &format!("GET /work HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"));
    assert_problem(&answer, 431);
    assert_eq!(server.get("/work").status, 200);
}

#[test]
fn a_truncated_body_creates_nothing() {
    let server = server();
    let mut stream = connect(&server);
    write!(
        stream,
        "POST /work HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 16\r\n\r\n{{\"add_up_to\":5}}"
    )
    .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_problem(&rest(&mut stream), 400);
    assert_eq!(server.get("/work").body, "[]");
}

#[test]
fn a_request_that_is_not_http_is_a_problem() {
    let server = server();
    for nonsense in [
        "NONSENSE\r\n\r\n",
        "GET /work HTTP/9.9\r\n\r\n",
        "GET /work HTTP/1.1\r\n\r\n",
        "GET /work HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n",
        "GET wo^rk HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /work HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        "POST /work HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let answer = exchange(&server, nonsense);
        assert_problem(&answer, 400);
        assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 1, "{nonsense:?}: {answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
    }
    assert_eq!(server.get("/work").body, "[]");
}

#[test]
fn one_connection_serves_requests_after_errors() {
    let server = server();
    let mut stream = connect(&server);
    let requests = "POST /work HTTP/1.1\r\nhost: localhost\r\n\r\nGET /work/1 HTTP/1.1\r\nhost: localhost\r\n\r\n\
                    GET /work/x HTTP/1.1\r\nhost: localhost\r\n\r\nGET /work/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).unwrap();
    let answer = rest(&mut stream);
    let statuses: Vec<_> = answer.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 4, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 1, "{answer}");
}

#[test]
fn a_malformed_head_is_answered_after_earlier_requests() {
    let server = server();
    let answer = exchange(
        &server,
        "POST /work HTTP/1.1\r\nhost: localhost\r\n\r\nGET /work/1 HTTP/1.1\r\nhost: localhost\r\n\r\nNONSENSE\r\n\r\n",
    );
    let answers: Vec<&str> = answer.split_inclusive("}").collect();
    assert!(
        answers[0].starts_with("HTTP/1.1 200 ") && answers[1].starts_with("HTTP/1.1 200 "),
        "{answer}"
    );
    assert_problem(answers[2], 400);
}
