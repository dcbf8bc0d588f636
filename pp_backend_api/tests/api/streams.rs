//! Live streams over HTTP: their beginning, their continuation after a break, and their end.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pp_backend_api::Config;
use pp_lib::domain::{AddUpTo, Position};
use pp_lib::store::{Claim, Completed, Outcome};
use pp_lib::streams::StreamsOptions;
use pp_lib::streams::sse::{Frame, Parser};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::embedded::{Embedded, server_with, server_with_streams};
use super::faults::until;
use super::server::{CONFIG, Server};
use pp_testkit::client::send;

/// Far longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The client of one stream.
pub(crate) struct Client {
    parser: Parser<BufReader<ureq::BodyReader<'static>>>,
    headers: ureq::http::HeaderMap,
}

/// An event as a browser sees it: name, last id, data.
type Seen = (String, String, Value);

impl Client {
    pub(crate) fn open(address: SocketAddr, path: &str, last_id: Option<&str>) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build();
        let mut request = ureq::Agent::from(config).get(format!("http://{address}{path}"));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let (head, body) = request.call().unwrap().into_parts();
        Self {
            parser: Parser::new(BufReader::new(body.into_reader())),
            headers: head.headers,
        }
    }

    /// The next event, or `None` at a proper end. It panics if the connection broke.
    fn told(&mut self) -> Option<Seen> {
        loop {
            if let Frame::Event { name, data } = self.parser.next_frame().unwrap()? {
                let id = self.parser.last_id().unwrap_or_default().to_owned();
                return Some((name, id, serde_json::from_str(&data).unwrap()));
            }
        }
    }

    pub(crate) fn event(&mut self, expected: &str) -> (String, Value) {
        let (name, id, data) = self.told().unwrap();
        assert_eq!(name, expected, "{data}");
        (id, data)
    }

    /// The id and the data of the next change.
    pub(crate) fn change(&mut self) -> (String, Value) {
        self.event("")
    }
}

impl Server {
    fn stream(&self, path: &str) -> Client {
        Client::open(self.address, path, None)
    }
}

fn a_stream_has_the_documented_format(server: &Server) {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .write_all(b"GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut seen = String::new();
    read_until(&mut socket, &mut seen, "data: {}\n\n");
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    for line in [
        "http/1.1 200 ok",
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "transfer-encoding: chunked",
    ] {
        assert!(head.lines().any(|had| had == line), "{line} in {head}");
    }
    let lines: Vec<&str> = body.lines().collect();
    assert!(
        lines.contains(&"retry: 1000") && lines.contains(&"event: start"),
        "{body}"
    );

    let work = server.created(4);
    let mut seen = String::new();
    read_until(&mut socket, &mut seen, "}\n\n");
    let lines: Vec<&str> = seen.lines().collect();
    let data = lines.iter().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let expected = format!(
        r#""work_id":{},"work_code":{},"variable":"work/created","value":"4","status":"pending","created_on":{}}}"#,
        work["id"], work["work_code"], work["created_on"]
    );
    assert!(data.starts_with("{\"id\":") && data.ends_with(&expected), "{data}");
    assert!(!seen.contains("event:"), "a browser's onmessage gets it: {seen}");
    let id = lines.iter().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert!(id.parse::<Position>().is_ok(), "{id}");
}

fn read_until(socket: &mut TcpStream, seen: &mut String, end: &str) {
    let mut buffer = [0; 4096];
    while !seen.contains(end) {
        let count = socket.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "ended before {end:?}: {seen}");
        seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
}

fn a_stream_follows_a_work_to_its_end(server: &Server) {
    let (work, other) = (server.created(4), server.created(5));
    let mut client = server.stream(&format!("/work/{}/stream", work["id"]));
    let (id, first) = client.event("work");
    assert_eq!(first, work);
    complete(server, &[&other, &work]);
    let mut told = Vec::new();
    while told.len() < 3 {
        let (_, change) = client.change();
        assert_eq!(change["work_id"], work["id"], "{change}");
        // A committed change may be held back for a moment by concurrent writes.
        if change["variable"] == "work/created" {
            continue;
        }
        told.push((change["variable"].clone(), change["value"].clone()));
    }
    let expected = [("compute/start", ""), ("compute/stop", ""), ("compute/result", "10")];
    assert_eq!(told, expected.map(|(variable, value)| (json!(variable), json!(value))));
    // A client that returns with the first id gets all changes again, after the current work.
    let mut again = Client::open(server.address, &format!("/work/{}/stream", work["id"]), Some(&id));
    let (same, now) = again.event("work");
    assert_eq!((same, &now["status"], &now["result"]), (id, &json!("done"), &json!(10)));
    let mut change = again.change().1;
    if change["variable"] == "work/created" {
        change = again.change().1;
    }
    assert_eq!(change["variable"], "compute/start");
}

/// Computes works one after the other.
fn complete(server: &Server, works: &[&Value]) {
    let mut claims: Vec<Claim> = Vec::new();
    until("all are due", || {
        claims.extend(server.claimed());
        claims.len() == works.len()
    });
    for work in works {
        let claim = claims.iter().find(|claim| claim.id.0 == work["id"]).unwrap();
        let result = AddUpTo::of_args(&claim.args).unwrap().sum();
        assert_eq!(
            server.completed(claim, Outcome::Done { result: result.into() }),
            Completed::Applied
        );
    }
}

fn a_returning_client_continues_after_its_last_event(server: &Server) {
    let mut client = server.stream("/stream");
    let (beginning, data) = client.event("start");
    assert_eq!(data, json!({}));
    let works: Vec<Value> = (1..=5).map(|bound| server.created(bound)).collect();
    let seen: Vec<(String, Value)> = works.iter().map(|_| client.change()).collect();
    drop(client);
    for (place, (id, _)) in seen.iter().enumerate() {
        let mut again = Client::open(server.address, "/stream", Some(id));
        assert_eq!(again.event("start").0, *id);
        for expected in &seen[place + 1..] {
            // The position after an event depends on the client's starting position.
            assert_eq!(again.change().1, expected.1);
        }
    }
    let mut parts = beginning.split('-');
    let epoch: i64 = parts.next().unwrap().parse().unwrap();
    let other = format!("{}-{}", epoch - 1, parts.collect::<Vec<_>>().join("-"));
    let mut reset = Client::open(server.address, "/stream", Some(&other));
    let (id, data) = reset.event("reset");
    assert!(
        id.starts_with(&format!("{epoch}-")) && data["reason"].is_string(),
        "{id} {data}"
    );
    let work = server.created(6);
    assert_eq!(reset.change().1["work_id"], work["id"]);
}

fn the_query_filters_a_stream(server: &Server) {
    let mut all = server.stream("/stream");
    all.event("start");
    let mut done = server.stream("/stream?status=done");
    done.event("start");
    let (first, second) = (server.created(3), server.created(4));
    let code = second["work_code"].as_str().unwrap();
    let mut coded = Client::open(
        server.address,
        &format!("/stream?work_code={code}"),
        Some(&all.change().0),
    );
    coded.event("start");
    complete(server, &[&first, &second]);
    assert_eq!(coded.change().1["variable"], "work/created");
    assert_eq!(coded.change().1["work_id"], second["id"]);
    let (_, change) = done.change();
    assert_eq!((&change["work_id"], &change["status"]), (&first["id"], &json!("done")));
}

fn a_stream_shows_a_cancellation_and_a_retry(server: &Server) {
    let work = server.created(4);
    let mut one = server.stream(&format!("/work/{}/stream", work["id"]));
    one.event("work");
    let mut cancelled = server.stream("/stream?status=cancelled");
    cancelled.event("start");
    for (deed, variable, status) in [
        ("cancel", "work/cancelled", "cancelled"),
        ("retry", "work/redriven", "pending"),
        ("cancel", "work/cancelled", "cancelled"),
    ] {
        let path = format!("/work/{}/{deed}", work["id"]);
        assert_eq!(send(server.address, "POST", &path, &[], None).status, 200);
        let (_, change) = one.change();
        assert_eq!(
            (&change["variable"], &change["status"]),
            (&json!(variable), &json!(status))
        );
    }
    for _ in 0..2 {
        assert_eq!(cancelled.change().1["work_id"], work["id"]);
    }
}

fn an_invalid_stream_is_a_problem(server: &Server) {
    let id = server.created(1)["id"].clone();
    for path in [
        "/stream?status=finished",
        "/stream?since=1",
        "/work/x/stream",
        "/stats/stream?status=done",
        "/stats/stream?kind=",
        "/stats/stream?kind=Mail",
        "/stats/stream?kind=mail&kind=mail",
    ] {
        server.get(path).problem(400);
    }
    server.get(&format!("/work/{id}/stream?status=done")).problem(400);
    server
        .get(&format!("/stream?work_code={}", "a".repeat(65)))
        .problem(400);
    server.get("/work/999/stream").problem(404);
    for path in ["/stream".to_owned(), format!("/work/{id}/stream")] {
        for last_id in ["", "7", "1-2-3-4-5", "a-b-c", "1-2.3"] {
            let headers = [("last-event-id", last_id)];
            let detail = send(server.address, "GET", &path, &headers, None).problem(400);
            assert!(detail.contains("Last-Event-ID"), "{detail}");
        }
        let answer = send(server.address, "HEAD", &path, &[], None);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/event-stream")
        );
        assert_eq!(
            send(server.address, "POST", &path, &[], None).header("allow"),
            "GET, HEAD"
        );
    }
}

fn the_counters_arrive_at_once_and_on_every_change(server: &Server) {
    let mut client = server.stream("/stats/stream");
    let mut other = server.stream("/stats/stream");
    let pending = |stats: &Value| stats["works"]["api"]["pending"].clone();
    assert_eq!(pending(&client.event("stats").1), 0);
    let work = server.created(4);
    for client in [&mut client, &mut other] {
        let stats = std::iter::from_fn(|| Some(client.event("stats").1)).find(|stats| pending(stats) == 1);
        let stats = stats.unwrap();
        assert_eq!((&stats["backlog"], &stats["newest"][0]), (&json!(1), &work));
    }
}

fn the_counters_of_a_kind_arrive_as_they_are_asked_for(server: &Server) {
    let declaring = [("content-type", "application/json")];
    send(server.address, "PUT", "/kind/mail", &declaring, Some(b"{}")).with(200);
    let mail = br#"{"kind":"mail","args":{}}"#;
    let mail = send(server.address, "POST", "/work", &declaring, Some(mail)).with(200);
    let sum = server.created(4);
    let mut clients = ["", "?kind=mail", "?kind=add_up_to", "?kind=unknown"]
        .map(|query| (query, server.stream(&format!("/stats/stream{query}"))));
    for (query, client) in &mut clients {
        let stats = client.event("stats").1;
        let newest: Vec<&Value> = stats["newest"]
            .as_array()
            .unwrap()
            .iter()
            .map(|work| &work["id"])
            .collect();
        let expected = match *query {
            "" => vec![&sum["id"], &mail["id"]],
            "?kind=mail" => vec![&mail["id"]],
            "?kind=add_up_to" => vec![&sum["id"]],
            _ => vec![],
        };
        assert_eq!(
            (newest, &stats["backlog"]),
            (expected.clone(), &json!(expected.len())),
            "{query}"
        );
        assert_eq!(
            server.get(&format!("/stats{query}")).with(200)["works"],
            stats["works"],
            "{query}"
        );
    }
    let next = server.created(5);
    for (query, client) in clients
        .iter_mut()
        .filter(|(query, _)| ["", "?kind=add_up_to"].contains(query))
    {
        let newer = std::iter::from_fn(|| Some(client.event("stats").1)).find(|stats| stats["newest"][0] == next);
        assert!(newer.is_some(), "{query}");
    }
}

on_both! {
    a_stream_has_the_documented_format
    a_stream_follows_a_work_to_its_end
    a_returning_client_continues_after_its_last_event
    the_query_filters_a_stream
    a_stream_shows_a_cancellation_and_a_retry
    an_invalid_stream_is_a_problem
    the_counters_arrive_at_once_and_on_every_change
    the_counters_of_a_kind_arrive_as_they_are_asked_for
}

/// A server with short heartbeats.
fn lively(clients: usize) -> Embedded {
    let options = StreamsOptions {
        clients,
        ..StreamsOptions::default()
    };
    let config = Config {
        heartbeat: Duration::from_millis(20),
        unread: Duration::from_secs(1),
        ..CONFIG
    };
    server_with_streams(config, options)
}

#[test]
fn a_heartbeat_keeps_a_quiet_stream_alive_and_gives_its_position() {
    let server = lively(10);
    let mut client = server.stream("/stream?status=failed");
    let (beginning, _) = client.event("start");
    server.created(1);
    // The position also moves past filtered changes.
    while client.parser.last_id() == Some(&beginning) {
        assert_eq!(client.parser.next_frame().unwrap(), Some(Frame::Alive));
    }
    let place = client.parser.last_id().unwrap().to_owned();
    let mut again = Client::open(server.address, "/stream", Some(&place));
    again.event("start");
    let second = server.created(2);
    assert_eq!(again.change().1["work_id"], second["id"]);
    let mut counters = server.stream("/stats/stream");
    while counters.parser.next_frame().unwrap() != Some(Frame::Alive) {}
}

#[test]
fn the_counters_of_at_most_a_hundred_kinds_are_watched_at_once() {
    let server = lively(200);
    let path = |number: usize| format!("/stats/stream?kind=kind{number}");
    let mut clients: Vec<Client> = (0..100).map(|number| server.stream(&path(number))).collect();
    for client in &mut clients {
        client.event("stats");
    }
    let refused = server.get(&path(100));
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    for taken in ["/stats/stream", &path(7)] {
        server.stream(taken).event("stats");
    }
    clients.pop();
    until("there is room for a kind again", || {
        place(&server, &path(100)).is_some()
    });
}

#[test]
fn a_full_stream_server_answers_503_until_a_client_leaves() {
    let server = lively(2);
    let mut one = server.stream("/stream");
    one.event("start");
    let mut two = server.stream("/stats/stream");
    two.event("stats");
    for path in ["/stream", "/stats/stream"] {
        let refused = server.get(path);
        refused.problem(503);
        assert_eq!(refused.header("retry-after"), "1");
    }
    assert_eq!(server.get("/work").status, 200, "other calls go on");
    drop(one);
    until("there is a place again", || is_open(&server));
}

#[test]
fn a_client_that_leaves_frees_its_place_at_once() {
    let options = StreamsOptions {
        clients: 1,
        ..StreamsOptions::default()
    };
    // No heartbeat detects this client's departure.
    let config = Config {
        heartbeat: Duration::from_secs(3600),
        unread: Duration::from_secs(3600),
        ..CONFIG
    };
    let server = server_with_streams(config, options);
    let id = server.created(1)["id"].clone();
    for path in ["/stream", "/stats/stream", &format!("/work/{id}/stream")] {
        for leave in [half_close, close, reset] {
            let mut opened = None;
            until("there is a place", || {
                opened = place(&server, path);
                opened.is_some()
            });
            assert!(!is_open(&server));
            let _left = leave(opened.unwrap());
            until("there is a place again", || is_open(&server));
        }
    }
}

#[test]
fn a_stream_discards_further_bytes_of_its_client() {
    let server = lively(1);
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    read_until(&mut socket, &mut String::new(), "data: {}");
    for _ in 0..1_000 {
        socket.write_all(request.repeat(200).as_bytes()).unwrap();
    }
    let work = server.created(4);
    read_until(&mut socket, &mut String::new(), &format!("\"work_id\":{}", work["id"]));
    drop(socket);
    until("there is a place again", || is_open(&server));
}

/// The connection stays half open.
fn half_close(socket: TcpStream) -> Option<TcpStream> {
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    Some(socket)
}

fn close(_: TcpStream) -> Option<TcpStream> {
    None
}

fn reset(socket: TcpStream) -> Option<TcpStream> {
    socket2::SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    None
}

/// True if one more stream can be opened.
fn is_open(server: &Server) -> bool {
    place(server, "/stream").is_some()
}

/// The connection of one more stream.
fn place(server: &Server, path: &str) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut seen = String::new();
    read_until(&mut socket, &mut seen, "\r\n\r\n");
    seen.starts_with("HTTP/1.1 200 ").then_some(socket)
}

#[test]
fn a_stop_ends_streams_properly_without_waiting() {
    let mut server = server_with(Config {
        grace: Duration::from_secs(120),
        ..CONFIG
    });
    let work = server.created(1);
    let paths = [
        "/stream".to_owned(),
        format!("/work/{}/stream", work["id"]),
        "/stats/stream".to_owned(),
    ];
    let mut clients: Vec<Client> = paths.iter().map(|path| server.stream(path)).collect();
    for client in &mut clients {
        client.told().unwrap();
        assert_eq!(client.headers["connection"], "close");
    }
    server.shut_down();
    for client in &mut clients {
        // The rest is received. A broken body would be an error.
        while client.told().is_some() {}
    }
    let began = std::time::Instant::now();
    server.stopped();
    assert!(began.elapsed() < Duration::from_secs(60), "it waited for its grace");
}

/// A client that sends a request and does not read. Soon the buffers on the way to it are full.
#[test]
fn a_client_that_does_not_read_is_dropped_and_others_continue() {
    let server = lively(2);
    let mut reading = server.stream("/stream");
    reading.event("start");
    let stalled = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    stalled.set_recv_buffer_size(4096).unwrap();
    stalled.connect(&server.address.into()).unwrap();
    stalled
        .send(b"GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    until("both are there", || !is_open(&server));
    let bulk = format!("[{}]", vec!["{}"; 500].join(","));
    let headers = [("content-type", "application/json")];
    until("the one that does not read is gone", || {
        let created = send(server.address, "POST", "/work/bulk", &headers, Some(bulk.as_bytes())).json();
        for work in created.as_array().unwrap() {
            assert_eq!(reading.change().1["work_id"], work["id"]);
        }
        is_open(&server)
    });
}
