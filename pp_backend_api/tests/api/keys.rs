//! `Idempotency-Key`: repeated requests with a key make one work and get one answer.

use super::access::{bearer, key};
use super::server::Server;
use pp_testkit::client::{Answer, send};

on_both! {
    a_repeated_key_makes_one_work_and_one_answer
    concurrent_requests_under_one_key_make_one_work
    a_key_of_another_request_is_422
    no_body_and_an_empty_object_are_the_same_request
    a_key_holds_for_one_resource_and_one_caller
    a_bad_body_takes_no_key
    a_bulk_request_with_a_key_runs_once
    a_redrive_with_a_key_runs_once
    an_invalid_key_is_400
}

pub(crate) fn post(server: &Server, path: &str, key: &str, json: &str) -> Answer {
    post_with(server, path, &[("idempotency-key", key)], json)
}

fn post_with(server: &Server, path: &str, headers: &[(&str, &str)], json: &str) -> Answer {
    let content_type = ("content-type", "application/json");
    let headers = [&[content_type], headers].concat();
    send(server.address, "POST", path, &headers, Some(json.as_bytes()))
}

/// Asserts that the answer is that of an earlier request.
fn replayed(answer: &Answer, of: &Answer) {
    assert_eq!((answer.status, &answer.body), (of.status, &of.body));
    for header in ["location", "etag", "content-type"] {
        assert_eq!(answer.header(header), of.header(header), "{header}");
    }
    assert_eq!(answer.header("idempotent-replayed"), "true");
}

fn a_repeated_key_makes_one_work_and_one_answer(server: &Server) {
    let first = post(server, "/work", "k", "{}");
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""));
    let work = first.json();
    assert_eq!(first.header("location"), format!("/work/{}", work["id"]));
    for (path, key) in [("/work", "k"), ("/work", "\"k\""), ("/work/", " k ")] {
        replayed(&post(server, path, key, "{}"), &first);
    }
    // The answer stays the same after the work has changed.
    server.compute(&work);
    replayed(&post(server, "/work", "k", "{}"), &first);
    assert_eq!(server.count(), 1);
    assert_eq!(server.history(&work).len(), 4);
    // A request without a key or with another key is another request.
    for key in ["", "idempotency-key"] {
        let headers: &[(&str, &str)] = if key.is_empty() { &[] } else { &[(key, "k2")] };
        let other = post_with(server, "/work", headers, "{}");
        assert_ne!(other.json()["id"], work["id"]);
    }
    assert_eq!(server.count(), 3);
}

/// Sends the same request from many clients at once, to these servers in turn.
pub(crate) fn at_once(servers: &[&Server], count: usize, key: &str) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let ask = |number| scope.spawn(move || post(servers[number % servers.len()], "/work", key, "{}"));
        let clients: Vec<_> = (0..count).map(ask).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// Asserts that all answers are the same one, given once and replayed to the others.
pub(crate) fn are_one(answers: &[Answer]) {
    for answer in answers {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body));
        assert_eq!(answer.header("location"), answers[0].header("location"));
    }
    let firsts = answers
        .iter()
        .filter(|answer| answer.header("idempotent-replayed").is_empty());
    assert_eq!(firsts.count(), 1);
}

fn concurrent_requests_under_one_key_make_one_work(server: &Server) {
    are_one(&at_once(&[server], 100, "k"));
    assert_eq!(server.count(), 1);
}

fn a_key_of_another_request_is_422(server: &Server) {
    assert_eq!(post(server, "/work", "k", r#"{"add_up_to":5}"#).status, 200);
    for other in [r#"{"add_up_to":6}"#, r#"{"add_up_to": 5}"#, "{}"] {
        let detail = post(server, "/work", "k", other).problem(422);
        assert!(detail.contains("Idempotency-Key"), "{detail}");
    }
    assert_eq!(server.count(), 1);
}

fn no_body_and_an_empty_object_are_the_same_request(server: &Server) {
    for (path, key) in [("/work", "a"), ("/work", "b"), ("/deadletter/redrive?all=true", "c")] {
        let none = || send(server.address, "POST", path, &[("idempotency-key", key)], None);
        let empty = |json| post(server, path, key, json);
        let first = if key == "a" { none() } else { empty("{}") };
        assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""));
        replayed(&none(), &first);
        for json in ["{}", " {\n} "] {
            replayed(&empty(json), &first);
        }
    }
    assert_eq!(server.count(), 2);
    let demanded = |body| {
        send(
            server.address,
            "POST",
            "/work/demand",
            &[("idempotency-key", "d"), ("content-type", "application/json")],
            body,
        )
    };
    let (none, empty) = (demanded(None), demanded(Some(&b"{}"[..])));
    assert_eq!((none.status, empty.status), (202, 202), "{none:?} {empty:?}");
    assert_eq!(none.json()["work_code"], empty.json()["work_code"]);
}

fn a_key_holds_for_one_resource_and_one_caller(server: &Server) {
    let asked = |headers: &[(&str, &str)]| {
        let headers = [&[("idempotency-key", "k")], headers].concat();
        post_with(server, "/work", &headers, "{}")
    };
    let without_caller = asked(&[]);
    replayed(&asked(&[]), &without_caller);
    let [first, second] = ["one", "two"].map(|name| bearer(&key(server, name, "create,read")));
    let (one, two) = (
        asked(&[("authorization", &first)]),
        asked(&[("authorization", &second)]),
    );
    let count = || {
        let works = send(server.address, "GET", "/work", &[("authorization", &first)], None);
        works.json().as_array().unwrap().len()
    };
    assert_eq!(count(), 3);
    replayed(&asked(&[("authorization", &first)]), &one);
    replayed(&asked(&[("authorization", &second)]), &two);
    let headers = [("idempotency-key", "k"), ("authorization", first.as_str())];
    let many = post_with(server, "/work/bulk", &headers, "[{}]");
    assert_eq!((many.status, many.header("idempotent-replayed")), (200, ""));
    assert_eq!(count(), 4);
}

fn a_bad_body_takes_no_key(server: &Server) {
    post(server, "/work", "k", "{").problem(400);
    post(server, "/work", "k", r#"{"add_up_to":0}"#).problem(422);
    let text = [("idempotency-key", "k"), ("content-type", "text/plain")];
    send(server.address, "POST", "/work", &text, Some(b"{}")).problem(415);
    let first = post(server, "/work", "k", "{}");
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""));
}

fn a_bulk_request_with_a_key_runs_once(server: &Server) {
    let wanted = format!("[{}{{}}]", "{},".repeat(299));
    let first = post(server, "/work/bulk", "k", &wanted);
    assert_eq!(first.status, 200, "{first:?}");
    replayed(&post(server, "/work/bulk/", "k", &wanted), &first);
    assert_eq!(server.count(), 300);
    post(server, "/work/bulk", "k", "[{}]").problem(422);
}

fn a_redrive_with_a_key_runs_once(server: &Server) {
    let work = server.failed("once");
    let redrive = |query: &str| {
        let path = format!("/deadletter/redrive?{query}");
        send(server.address, "POST", &path, &[("idempotency-key", "k")], None)
    };
    let first = redrive("all=true");
    assert_eq!((first.status, first.body.as_str()), (200, r#"{"redriven":1}"#));
    server.failed("twice");
    replayed(&redrive("all=true"), &first);
    redrive("ids=1").problem(422);
    assert_eq!(server.get("/deadletter").json().as_array().unwrap().len(), 1);
    assert_eq!(server.work(&work)["status"], "pending");
}

fn an_invalid_key_is_400(server: &Server) {
    for path in ["/work", "/work/bulk", "/deadletter/redrive?all=true"] {
        let body = if path == "/work/bulk" { "[{}]" } else { "{}" };
        let long = "k".repeat(256);
        for wrong in ["", "\"\"", "\"k", "k\"\tk", "\"k\"k", &long] {
            let detail = post(server, path, wrong, body).problem(400);
            assert!(detail.contains("Idempotency-Key") && detail.contains("255"), "{detail}");
        }
        let two = [("idempotency-key", "k"), ("idempotency-key", "k")];
        let detail = post_with(server, path, &two, body).problem(400);
        assert!(detail.contains("one Idempotency-Key"), "{detail}");
    }
    assert_eq!(server.count(), 0);
    assert_eq!(post(server, "/work", &"k".repeat(255), "{}").status, 200);
}
