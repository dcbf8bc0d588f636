//! The program as a user runs it: flags in; output, errors and exit codes out.
//!
//! A small server handles one connection as the test says, including wrong replies. Unit tests cover each rule of each
//! flag and each way to split a reply.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pp_testkit::cli::{Called, PATIENCE, PreparedServer};

/// Calls the program on this server.
fn call_to(server: &PreparedServer, flags: &[&str]) -> Called {
    call(&[&["--port", &server.address.port().to_string()], flags].concat())
}

fn call(flags: &[&str]) -> Called {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("cli_02");
    command.args(flags).timeout(PATIENCE).output().unwrap().into()
}

/// The part of the output that shows the reply.
fn reply(called: &Called) -> &str {
    called.stdout.find("< ").map_or("", |start| &called.stdout[start..])
}

#[test]
fn a_created_work_is_shown_byte_by_byte() {
    let server =
        PreparedServer::sending("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nlocation: /work/1\r\n\r\n{\"id\":1}\n");
    let port = server.address.port();
    let called = call_to(
        &server,
        &["--method", "POST", "--path", "/work", "--body", "{\"add_up_to\":4}"],
    );
    let version = env!("CARGO_PKG_VERSION");
    let head = [
        "POST /work HTTP/1.1",
        &format!("Host: 127.0.0.1:{port}"),
        &format!("User-Agent: cli_02/{version}"),
        "Connection: close",
        "Content-Type: application/json",
        "Content-Length: 15",
    ];
    let shown = format!("> {}\n>\n> {{\"add_up_to\":4}}\n", head.join("\n> "));
    let reply = "< HTTP/1.1 200 OK\n< content-length: 9\n< location: /work/1\n<\n{\"id\":1}\n";
    assert_eq!(called.stdout, shown + reply);
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        server.request(),
        format!("{}\r\n\r\n{{\"add_up_to\":4}}", head.join("\r\n"))
    );
}

#[test]
fn a_sized_reply_is_complete_though_the_connection_stays_open() {
    let server = PreparedServer::start(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the client closes first");
    });
    let called = call_to(&server, &[]);
    assert_eq!(
        (called.code, reply(&called)),
        (Some(0), "< HTTP/1.1 200 OK\n< Content-Length: 2\n<\nok\n")
    );
    server.request();
}

#[test]
fn a_chunked_reply_is_shown_decoded() {
    let server = PreparedServer::sending(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nA: b\r\n\r\n",
    );
    let called = call_to(&server, &[]);
    assert_eq!(
        reply(&called),
        "< HTTP/1.1 200 OK\n< Transfer-Encoding: chunked\n<\nhello, world\n< A: b\n<\n"
    );
    assert_eq!(called.code, Some(0));
}

#[test]
fn a_reply_without_framing_lasts_until_the_close() {
    let called = call_to(&PreparedServer::sending("HTTP/1.0 200 OK\r\n\r\nall\nof it"), &[]);
    assert_eq!(
        (called.code, reply(&called)),
        (Some(0), "< HTTP/1.0 200 OK\n<\nall\nof it\n")
    );
}

#[test]
fn an_interim_reply_is_shown_and_does_not_count() {
    let called = call_to(
        &PreparedServer::sending("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        &[],
    );
    assert_eq!(
        (called.code, reply(&called)),
        (Some(0), "< HTTP/1.1 103 Early Hints\n<\n< HTTP/1.1 204 No Content\n<\n")
    );
}

#[test]
fn a_reply_to_head_is_complete_after_its_head() {
    let server = PreparedServer::start(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")
            .unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the client closes first");
    });
    assert_eq!(call_to(&server, &["--method", "HEAD"]).code, Some(0));
    assert!(server.request().starts_with("HEAD / HTTP/1.1\r\n"));
}

#[test]
fn an_answer_of_4xx_or_5xx_exits_with_1() {
    for status in ["404 Not Found", "422 Unprocessable Content", "503 Service Unavailable"] {
        let server = PreparedServer::sending(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}"));
        let called = call_to(&server, &["--path", "/work/999"]);
        let shown = format!("< HTTP/1.1 {status}\n< Content-Length: 2\n<\n{{}}\n");
        assert_eq!(
            (called.code, reply(&called), called.stderr.as_str()),
            (Some(1), shown.as_str(), "")
        );
    }
}

#[test]
fn a_truncated_reply_is_shown_and_is_an_error() {
    for (wire, middle) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"id\"",
            "the reply's body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"id\"",
            "the reply's chunked body",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Le", "the reply's head"),
    ] {
        let called = call_to(&PreparedServer::sending(wire), &[]);
        called.assert_error(
            3,
            &format!("the server closed the connection in the middle of {middle}"),
        );
        assert!(reply(&called).starts_with("< HTTP/1.1 200 OK\n< "), "{called:?}");
        assert!(
            reply(&called).ends_with("{\"id\"\n") || middle.ends_with("head"),
            "{called:?}"
        );
    }
    call_to(&PreparedServer::sending(""), &[]).assert_error(3, "the server closed the connection without a reply");
}

#[test]
fn a_foreign_reply_is_shown_and_is_an_error() {
    let called = call_to(&PreparedServer::sending("SSH-2.0-OpenSSH_9.2\x1b[31m\r\n"), &[]);
    called.assert_error(3, "malformed reply: it does not begin like HTTP/1.x");
    assert_eq!(reply(&called), "< SSH-2.0-OpenSSH_9.2\\x1b[31m\n");
}

#[test]
fn a_slow_server_does_not_extend_the_deadline() {
    let server = PreparedServer::start(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        // Sends a byte every 20 ms until the client closes.
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while stream.read(&mut [0]).is_err() && stream.write_all(b".").is_ok() {}
    });
    let start = Instant::now();
    let called = call_to(&server, &["--timeout", "1s"]);
    assert!(
        start.elapsed() >= Duration::from_secs(1) && start.elapsed() < PATIENCE / 3,
        "{:?}",
        start.elapsed()
    );
    called.assert_error(
        3,
        "no complete reply within 1s (--timeout), still waiting for the server",
    );
    assert!(
        reply(&called).starts_with("< HTTP/1.1 200 OK\n<\n.."),
        "what came in time is shown: {called:?}"
    );
    server.request();
}

#[test]
fn a_server_that_stops_in_its_head_meets_the_deadline() {
    let server = PreparedServer::start(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the client closes first");
    });
    let called = call_to(&server, &["--timeout", "1s"]);
    called.assert_error(
        3,
        "no complete reply within 1s (--timeout), still waiting for the server",
    );
    assert_eq!(reply(&called), "< HTTP/1.1 200 OK\n< X: \n", "what came is shown");
    server.request();
}

#[test]
fn a_refused_port_is_unavailable() {
    // The port is taken on one address of this machine, so that no other process can open it on the other address.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let called = call(&["--host", "127.0.0.2", "--port", &port]);
    called.assert_error(
        3,
        &format!("cannot connect to 127.0.0.2:{port}: Connection refused (os error 111)"),
    );
    assert_eq!(called.stdout, "", "nothing was sent, so nothing is shown as sent");
}

#[test]
fn a_reply_that_is_too_large_is_cut_at_the_limit() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let server = PreparedServer::start(move |mut stream| {
        stream.write_all(head.as_bytes()).unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let called = call_to(&server, &["--max-bytes", "1KiB"]);
    called.assert_error(3, "the reply is larger than 1024 bytes (--max-bytes)");
    assert_eq!(
        reply(&called),
        format!("< HTTP/1.1 200 OK\n<\n{}\n", "x".repeat(1024 - head.len()))
    );
    server.request();
}

#[test]
fn a_reply_that_announces_too_much_is_refused_at_once() {
    let called = call_to(
        &PreparedServer::sending("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"),
        &[],
    );
    called.assert_error(3, "the reply is larger than 1048576 bytes (--max-bytes)");
}

#[test]
fn a_flag_cannot_add_lines_to_the_request() {
    // No byte may reach a socket. If the flags were accepted, the refused connection would exit with 3.
    let unused = ["--host", "127.0.0.2", "--port", "1"];
    for flags in [
        ["--path", "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /two"],
        ["--path", "/\nX: y"],
        ["--header", "X: a\r\nContent-Length: 0"],
        ["--header", "X\n: a"],
        ["--header", "Transfer-Encoding: chunked"],
        ["--method", "GET / HTTP/1.1\r\n"],
    ] {
        let called = call(&[&unused[..], &flags[..]].concat());
        assert_eq!((called.code, called.stdout.as_str()), (Some(2), ""), "{called:?}");
        assert!(
            called.stderr.starts_with(&format!("error: {} \"", flags[0])),
            "{called:?}"
        );
        assert_eq!(called.stderr.lines().count(), 1, "{called:?}");
    }
}

#[test]
fn a_timeout_needs_a_unit() {
    call(&["--timeout", "5"]).assert_error(2, "--timeout \"5\": has no unit; write 5s or 500ms");
}

#[test]
fn a_body_cannot_control_the_terminal() {
    let called = call_to(
        &PreparedServer::sending(b"HTTP/1.1 200 OK\r\nX: \xff\r\n\r\n\x1b[2J\xffa\tb\r\n"),
        &[],
    );
    assert_eq!(
        reply(&called),
        "< HTTP/1.1 200 OK\n< X: \\xff\n<\n\\x1b[2J\\xffa\tb\\r\n"
    );
}

#[test]
fn a_host_may_be_a_name() {
    let server = PreparedServer::sending("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(call_to(&server, &["--host", "localhost"]).code, Some(0));
    assert!(server.request().contains("\r\nHost: localhost:"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let server = PreparedServer::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("cli_02"))
        .args([
            "--port",
            &server.address.port().to_string(),
            "--max-bytes",
            "1GiB",
            "--timeout",
            "30s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(first, "> GET / HTTP/1.1\n");
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
        (Some(0), "")
    );
    server.request();
}

#[test]
fn help_shows_every_default_and_the_exit_codes() {
    let called = call(&["--help"]);
    let help = called.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for default in ["127.0.0.1", "3000", "GET", "/", "none", "5s", "1MiB"] {
        assert!(help.contains(&format!("[default: {default}]")), "{default}: {help}");
    }
    assert!(help.contains("Exit codes: 0 answered") && called.code == Some(0));
}
