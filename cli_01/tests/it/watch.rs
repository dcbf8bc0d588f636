//! `watch` against a server for one connection with a prepared stream.

use crate::http::Server;

const WORK: &str = r#"{"id":21,"work_code":"api-bjq8euwsEA","add_up_to":4,"done":false,"created_on":1634115736,"updated_on":1634115736,"status":"pending","result":null,"version":1,"kind":"add_up_to"}"#;

fn change(id: i64, variable: &str, value: &str, status: &str) -> String {
    format!(
        r#"{{"id":{id},"work_id":21,"work_code":"api-bjq8euwsEA","variable":"{variable}","value":"{value}","status":"{status}","created_on":1634115737}}"#
    )
}

/// A stream of the work and these changes.
fn streaming(changes: &[String]) -> Server {
    let mut body = format!("retry: 1000\n\nevent: work\nid: 1-0-1\ndata: {WORK}\n\n: heartbeat\nid: 1-0-2\n\n");
    for (place, change) in (10..).zip(changes) {
        body += &format!("id: 1-0-{place}\ndata: {change}\n\n");
    }
    Server::answering("200 OK", "text/event-stream", body)
}

#[test]
fn one_work_is_followed_until_it_is_done() {
    let changes = [
        change(1, "compute/start", "", "running"),
        change(2, "compute/error", "a\\u001b[2J b", "pending"),
        change(3, "compute/result", "10", "done"),
        change(4, "work/updated", "5", "pending"),
    ];
    let server = streaming(&changes);
    let table = server.call(&["watch", "--id", "21"]).done();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines,
        [
            "2021-10-13 09:02:16  api-bjq8euwsEA       pending    up to 4",
            "2021-10-13 09:02:17  api-bjq8euwsEA       running    compute/start",
            "2021-10-13 09:02:17  api-bjq8euwsEA       pending    compute/error a [2J b",
            "2021-10-13 09:02:17  api-bjq8euwsEA       done       compute/result 10",
        ]
    );
    assert_eq!(server.request().0, "GET /work/21/stream HTTP/1.1");
    let json = streaming(&changes)
        .call(&["watch", "--id", "21", "--output", "json"])
        .done();
    let expected = [&[WORK.to_owned()], &changes[..3]].concat();
    assert_eq!(json.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn an_end_without_a_result_is_code_1() {
    for (last, line) in [
        (
            change(3, "compute/error", "no luck", "failed"),
            "error: the work failed: no luck\n",
        ),
        (
            change(3, "work/cancelled", "", "cancelled"),
            "error: the work was cancelled or deleted\n",
        ),
        (change(3, "work/cancelled", "", "done"), "error: the work was deleted\n"),
    ] {
        let called = streaming(&[change(2, "compute/error", "again", "pending"), last]).call(&["watch", "--id", "21"]);
        assert_eq!((called.code, called.stderr.as_str()), (Some(1), line), "{called:?}");
        assert_eq!(called.stdout.lines().count(), 3, "{called:?}");
    }
    for (status, code, line) in [
        ("done", 0, ""),
        ("failed", 1, "error: the work failed: see its events\n"),
    ] {
        let body = format!("event: work\ndata: {}\n\n", WORK.replace("pending", status));
        let called = Server::answering("200 OK", "text/event-stream", body).call(&["watch", "--id", "21"]);
        assert_eq!((called.code, called.stderr.as_str()), (Some(code), line), "{called:?}");
    }
}

#[test]
fn a_foreign_stream_is_one_line() {
    let watch = ["watch", "--status", "done", "--work-code", "api-b&"];
    let busy = Server::problem("503 Service Unavailable", "too many streams are open already");
    busy.call(&watch).failed(3, "too many streams are open already");
    assert_eq!(busy.request().0, "GET /stream?work_code=api-b%26&status=done HTTP/1.1");
    let unknown = Server::problem("404 Not Found", "there is no such work");
    unknown.call(&["watch", "--id", "5"]).failed(1, "there is no such work");
    let other = Server::json("[]").call(&watch);
    assert_eq!(other.code, Some(3));
    assert!(other.stderr.contains("does not stream like an API of PP"), "{other:?}");
    let strange = Server::answering("200 OK", "text/event-stream", "data: {}\n\n").call(&watch);
    assert_eq!(
        (strange.code, strange.stderr.lines().count()),
        (Some(3), 1),
        "{strange:?}"
    );
}
