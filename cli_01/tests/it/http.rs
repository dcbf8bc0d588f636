//! `--call-type http` against a server that handles one connection as the test says.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;

use pp_testkit::cli::{Called, PATIENCE, PreparedServer};

use crate::call;

const WORK: &str = r#"{"id":21,"work_code":"api-bjq8euwsEA","add_up_to":4,"done":true,"created_on":1634115736,"updated_on":1634115737,"status":"done","result":10,"version":2,"kind":"add_up_to"}"#;
const EVENT: &str =
    r#"{"id":7,"work_code":"api-bjq8euwsEA","variable":"compute/result","value":"10","created_on":1634115737}"#;

/// The API of one call.
pub(crate) struct Server(PreparedServer);

impl Server {
    fn start(behaviour: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        Self(PreparedServer::start(behaviour))
    }

    pub(crate) fn answering(status: &str, kind: &str, body: impl Into<String>) -> Self {
        let body = body.into();
        let length = body.len();
        Self(PreparedServer::sending(format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )))
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::answering("200 OK", "application/json", body)
    }

    pub(crate) fn problem(status: &str, detail: &str) -> Self {
        let number = &status[..3];
        let body = format!(r#"{{"type":"about:blank","title":"x","status":{number},"detail":"{detail}"}}"#);
        Self::answering(status, "application/problem+json", body)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    pub(crate) fn call(&self, args: &[&str]) -> Called {
        call(Path::new("."), args, &[("PP_API_URL", &self.url())])
    }

    /// The request line and the body, after the connection has ended.
    pub(crate) fn request(self) -> (String, String) {
        let request = self.0.request();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

#[test]
fn a_work_is_cancelled_and_started_over() {
    for command in ["cancel", "retry"] {
        let server = Server::json(WORK);
        let printed = server.call(&[command, "--id", "21", "--output", "json"]).done();
        assert_eq!(printed, format!("{WORK}\n"));
        let (line, body) = server.request();
        assert_eq!((line, body.as_str()), (format!("POST /work/21/{command} HTTP/1.1"), ""));
        let server = Server::problem("409 Conflict", "the work is done; only another one can be");
        server
            .call(&[command, "--id", "21"])
            .failed(1, "the work is done; only another one can be");
        let server = Server::problem("404 Not Found", "there is no such work");
        server.call(&[command, "--id", "22"]).failed(1, "there is no such work");
    }
}

#[test]
fn a_work_is_shown_by_its_id() {
    let server = Server::json(WORK);
    let table = server.call(&["--id", "21", "--call-type", "http"]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines,
        [
            "ID  WORK CODE       ADD UP TO  STATUS  RESULT  CREATED (UTC)        UPDATED (UTC)        VERSION",
            "21  api-bjq8euwsEA          4  done        10  2021-10-13 09:02:16  2021-10-13 09:02:17        2",
        ]
    );
    assert_eq!(server.request().0, "GET /work/21 HTTP/1.1");
    let json = Server::json(WORK).call(&["--id", "21", "--output", "json"]).done();
    assert_eq!(json, format!("{WORK}\n"));
}

#[test]
fn searches_and_histories_become_requests_of_the_api() {
    let server = Server::json(&format!("[{WORK}]"));
    let found = server.call(&["--work-code", "api-b&q", "--output", "json"]).done();
    assert_eq!(found, format!("[{WORK}]\n"));
    assert_eq!(
        server.request().0,
        "GET /work/search?work_code=api-b%26q&limit=1000 HTTP/1.1"
    );

    let server = Server::json(&format!("[{WORK}]"));
    let args = [
        "search",
        "--status",
        "failed",
        "--done",
        "false",
        "--since",
        "1634115736",
        "--limit",
        "2",
    ];
    assert_eq!(server.call(&args).done().lines().count(), 2);
    assert_eq!(
        server.request().0,
        "GET /work/search?status=failed&since=1634115736&limit=2 HTTP/1.1"
    );

    let server = Server::json(&format!("[{EVENT}]"));
    let told = server.call(&["events", "--id", "21", "--output", "json"]).done();
    assert_eq!(told, format!("[{EVENT}]\n"));
    assert_eq!(server.request().0, "GET /work/21/events HTTP/1.1");
}

#[test]
fn a_work_is_created_with_a_bound_or_without() {
    let server = Server::json(WORK);
    assert_eq!(server.call(&["create", "--output", "json"]).done(), format!("{WORK}\n"));
    assert_eq!(server.request(), ("POST /work HTTP/1.1".to_owned(), String::new()));
    let server = Server::json(WORK);
    server.call(&["create", "--add-up-to", "4"]).done();
    assert_eq!(
        server.request(),
        ("POST /work HTTP/1.1".to_owned(), r#"{"add_up_to":4}"#.to_owned())
    );
    let server = Server::json(WORK);
    server.call(&["create", "--run-at", "1634115736"]).done();
    assert_eq!(server.request().1, r#"{"run_at":1634115736}"#);
}

#[test]
fn a_work_is_changed_and_deleted() {
    let server = Server::json(WORK);
    let updated = server.call(&["update", "--id", "21", "--add-up-to", "4", "--output", "json"]);
    assert_eq!(updated.done(), format!("{WORK}\n"));
    let request = ("PATCH /work/21 HTTP/1.1".to_owned(), r#"{"add_up_to":4}"#.to_owned());
    assert_eq!(server.request(), request);

    let server = Server::answering("204 No Content", "text/plain", "");
    assert_eq!(server.call(&["delete", "--id", "21"]).done(), "");
    assert_eq!(server.request().0, "DELETE /work/21 HTTP/1.1");
    let server = Server::problem("404 Not Found", "there is no such work");
    server
        .call(&["delete", "--id", "21"])
        .failed(1, "there is no such work");
    let server = Server::json("{}");
    let line = format!("{} answers 200 OK", server.url());
    server.call(&["delete", "--id", "21"]).failed(3, &line);
}

#[test]
fn the_error_line_quotes_the_api() {
    for (status, code) in [
        ("404 Not Found", 1),
        ("400 Bad Request", 2),
        ("503 Service Unavailable", 3),
    ] {
        Server::problem(status, "it says why")
            .call(&["--id", "21"])
            .failed(code, "it says why");
    }
    let server = Server::problem("404 Not Found", "two\\nlines\\u001b[2J");
    server.call(&["--id", "21"]).failed(1, "two lines [2J");
}

#[test]
fn an_empty_answer_is_code_1() {
    Server::json("[]")
        .call(&["--work-code", "api-"])
        .failed(1, "no work matches");
    Server::json("[]")
        .call(&["events", "--id", "3"])
        .failed(1, "work 3 has no events yet");
}

#[test]
fn a_foreign_server_is_one_line() {
    let garbage = [
        Server::answering("200 OK", "text/html", "<html>\n"),
        Server::json(""),
        Server::json("{}"),
        Server::json(&WORK.replace("\"done\",", "\"lost\",")),
        Server::json(&format!("[{WORK}]")),
        Server::start(|mut stream| stream.write_all(b"SSH-2.0-x\r\n\r\n").unwrap()),
        Server::start(|mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
                .unwrap()
        }),
        Server::start(drop),
    ];
    for server in garbage {
        let called = server.call(&["--id", "21"]);
        assert_eq!((called.code, called.stdout.as_str()), (Some(3), ""), "{called:?}");
        assert_eq!(called.stderr.lines().count(), 1, "{called:?}");
        assert!(
            called.stderr.starts_with(&format!("error: {} ", server.url())),
            "{called:?}"
        );
    }
    let server = Server::answering("302 Found\r\nLocation: http://127.0.0.1:1/", "text/html", "");
    let line = format!("{} answers 302 Found", server.url());
    server.call(&["--id", "21"]).failed(3, &line);
    let server = Server::answering("404 Not Found", "text/html", "<html>");
    let line = format!("{} answers 404 Not Found", server.url());
    server.call(&["--id", "21"]).failed(1, &line);
}

#[test]
fn an_endless_answer_is_cut_off() {
    let server = Server::json(&"[".repeat(17 * 1024 * 1024));
    let line = format!("{} answers with more than 16777216 bytes", server.url());
    server.call(&["--work-code", ""]).failed(3, &line);
}

#[test]
fn a_slow_answer_is_given_up_on() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"] {
        let server = Server::start(move |mut stream| {
            stream.write_all(head.as_bytes()).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "the client closes first");
        });
        let line = format!("{} did not answer within 300ms", server.url());
        server.call(&["--id", "21", "--timeout", "300ms"]).failed(3, &line);
    }
}

#[test]
fn an_api_that_is_down_is_code_3() {
    // After the drop nothing listens at this address.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    call(
        Path::new("."),
        &["--id", "1", "--api-url", &format!("http://{address}/")],
        &[],
    )
    .failed(
        3,
        &format!("http://{address} cannot be reached (--api-url, PP_API_URL): Connection refused (os error 111)"),
    );
}

#[test]
fn a_reader_that_closes_early_is_no_failure() {
    let (closed, answer) = mpsc::channel::<()>();
    let server = Server::start(move |mut stream| {
        answer.recv_timeout(PATIENCE).unwrap();
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{WORK}", WORK.len());
        stream.write_all(reply.as_bytes()).unwrap();
    });
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_cli_01"))
        .args(["--id", "21", "--api-url", &server.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    closed.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
