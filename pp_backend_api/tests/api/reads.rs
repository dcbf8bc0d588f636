//! Works by id and by code, their history, the index and the health pages.

use pp_lib::domain::{AddUpTo, Json, KindName, Origin};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{Completion, Guard, Outcome};
use serde_json::Value;

use super::embedded::{Embedded, server};
use pp_testkit::client::send;

#[test]
fn a_work_is_found_by_its_id_and_by_its_code() {
    let server = server();
    let work = server.created(4);
    let (id, code) = (&work["id"], work["work_code"].as_str().unwrap());
    let by_id = server.get(&format!("/work/{id}"));
    assert_eq!((by_id.status, by_id.json()), (200, work.clone()));
    let by_code = server.get(&format!("/work/code/{code}"));
    assert_eq!((by_code.status, by_code.json()), (200, work.clone()));
    let head = send(server.address, "HEAD", &format!("/work/{id}"), &[], None);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), by_id.body.len().to_string());
}

#[test]
fn an_id_without_digits_is_400_and_one_out_of_range_is_404() {
    let server = server();
    server.created(4);
    for path in [
        "/work/x",
        "/work/1x",
        "/work/1.5",
        "/work/+1",
        "/work/-",
        "/work/0x1",
        "/work/%20",
        "/work/1%00",
    ] {
        let detail = server.get(path).problem(400);
        assert!(detail.contains("number"), "{path}: {detail}");
    }
    server.get("/work/x/events").problem(400);
    for id in [
        "0",
        "-1",
        "2",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        &"9".repeat(1000),
    ] {
        server.get(&format!("/work/{id}")).problem(404);
        server.get(&format!("/work/{id}/events")).problem(404);
    }
    for code in [
        "api-0000000000",
        "x",
        "API-0000000000",
        "api-%27OR%201=1",
        "api-%00",
        "api-%ff",
        &"a".repeat(5000),
    ] {
        server.get(&format!("/work/code/{code}")).problem(404);
    }
}

#[test]
fn a_client_with_the_current_etag_gets_no_body() {
    let server = server();
    let path = format!("/work/{}", server.created(4)["id"]);
    assert_eq!(server.get(&path).header("etag"), "\"1\"");
    let asked = |tag: &str| send(server.address, "GET", &path, &[("if-none-match", tag)], None);
    for known in ["\"1\"", "W/\"1\"", "*", "\"7\", \"1\""] {
        let answer = asked(known);
        assert_eq!(
            (answer.status, answer.body.as_str(), answer.header("etag")),
            (304, "", "\"1\""),
            "{known}"
        );
    }
    for other in ["\"2\"", "1", "", "W/\"11\""] {
        assert_eq!(asked(other).status, 200, "{other}");
    }
}

/// Computes a work with the bound 100, as the consumer would.
fn consumed(server: &Embedded) -> Value {
    let add_up_to = AddUpTo::try_from(100).unwrap();
    let completion = Completion {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Consumer),
        args: Some(add_up_to.args()),
        guard: Guard::NoRow,
        outcome: Outcome::Done {
            result: Json::from(add_up_to.sum()),
        },
    };
    let code = completion.work_code.clone();
    server
        .runtime
        .block_on(server.store.complete(KindName::add_up_to(), &[completion]))
        .unwrap();
    server.get(&format!("/work/code/{code}")).json()
}

#[test]
fn a_history_is_oldest_first() {
    let server = server();
    let created = server.created(5);
    let events = server.get(&format!("/work/{}/events", created["id"]));
    assert_eq!(events.status, 200);
    let events = events.json();
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    assert_eq!(events[0]["work_code"], created["work_code"]);
    assert_eq!(
        (&events[0]["variable"], &events[0]["value"]),
        (&"work/created".into(), &"5".into())
    );

    let work = consumed(&server);
    assert_eq!(
        (&work["done"], &work["status"], &work["result"]),
        (&true.into(), &"done".into(), &5050.into())
    );
    let events = server.get(&format!("/work/{}/events", work["id"])).json();
    let told: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (&event["variable"], &event["value"]))
        .collect();
    let (start, stop, result) = (
        Value::from("compute/start"),
        "compute/stop".into(),
        "compute/result".into(),
    );
    let (nothing, sum) = (Value::from(""), Value::from("5050"));
    assert_eq!(told, [(&start, &nothing), (&stop, &nothing), (&result, &sum)]);
    let ids: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_i64().unwrap())
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn the_index_lists_routes_that_work() {
    let server = server();
    let work = server.created(5);
    let index = server.get("/");
    assert_eq!(index.status, 200);
    let index = index.json();
    let (reads, writes): (Vec<_>, Vec<_>) = index["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| (route["method"].as_str().unwrap(), route["path"].as_str().unwrap()))
        .partition(|(method, _)| *method == "GET");
    // Requests without a body or a query. A route that needs one answers with an error.
    for (method, path) in reads.into_iter().chain(writes) {
        // Streams do not end by themselves. Other tests cover them.
        if path.ends_with("/stream") {
            continue;
        }
        let real = path
            .replace("{id}", &work["id"].to_string())
            .replace("{name}", "add_up_to")
            .replace("{file}", "icon.svg")
            .replace("{code}", work["work_code"].as_str().unwrap());
        let status = match (method, path) {
            ("PUT", "/kind/{name}/secret") => 200,
            ("POST", "/work/bulk" | "/key" | "/session") | ("PATCH", _) | ("PUT", _) => 422,
            ("POST", path) if path.starts_with("/run/") => 422,
            ("GET", "/kind/{name}/worker.py" | "/kind/{name}/worker.mjs") => 422,
            (_, "/deadletter/redrive") | ("DELETE", "/deadletter") => 400,
            // The routes run in this order: an updated work is pending, and a cancelled one starts again.
            ("POST", "/work/{id}/cancel" | "/work/{id}/retry") => 200,
            ("GET", "/live") => 308,
            ("DELETE", "/key/{id}") => 404,
            ("DELETE", _) => 204,
            (_, "/work/demand") => 202,
            _ => 200,
        };
        // A stream does not end by itself.
        let method = if path.ends_with("/stream") { "HEAD" } else { method };
        let answer = send(server.address, method, &real, &[], None);
        assert_eq!(answer.status, status, "{method} {path} {answer:?}");
    }
}

#[test]
fn the_health_pages_are_mounted() {
    let server = server();
    assert_eq!(server.get("/health/live").json()["status"], "live");
    let ready = || server.get("/health/ready").json();
    super::faults::until("every part is up", || ready()["status"] == "ready");
    let ready = ready();
    assert_eq!(ready["parts"][0]["name"], "store", "{ready}");
}
