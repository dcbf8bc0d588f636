//! What an overview needs: works counted, dead letters grouped, and what was done in each of the last seconds.

use serde_json::{Value, json};

use super::faults::until;
use super::server::Server;
use pp_testkit::client::send;

on_both! {
    works_are_counted_as_a_search_finds_them
    letters_are_grouped_by_kind_and_error
    a_group_is_redriven_by_its_kind_and_error
    the_last_seconds_tell_what_was_done
    unknown_parameters_and_values_are_refused
}

fn works_are_counted_as_a_search_finds_them(server: &Server) {
    let count = |query: &str| server.get(&format!("/work/count{query}")).json();
    assert_eq!(count(""), json!({"works": 0, "more": false}));
    let works: Vec<Value> = (1..6).map(|bound| server.created(bound)).collect();
    server.compute(&works[0]);
    server.failed("no luck");
    let cancelled = format!("/work/{}/cancel", works[1]["id"]);
    assert_eq!(send(server.address, "POST", &cancelled, &[], None).status, 200);
    for query in [
        "",
        "?status=pending",
        "?status=cancelled",
        "?done=false",
        "?kind=add_up_to",
        "?kind=other",
        "?work_code=api-",
        "?work_code=consumer-",
        "?since=0",
        "?since=99999999999",
        "?status=failed&kind=add_up_to&since=1",
    ] {
        let found = server
            .get(&format!("/work/search{query}"))
            .json()
            .as_array()
            .unwrap()
            .len();
        assert_eq!(count(query), json!({"works": found, "more": false}), "{query}");
    }
    assert_eq!(count("?status=pending")["works"], 3);
}

fn letters_are_grouped_by_kind_and_error(server: &Server) {
    assert_eq!(server.get("/deadletter/group").json(), json!([]));
    let long = format!("{}1", "x".repeat(250));
    for reason in ["no luck", "timed out", "no luck", &long, &format!("{}2", &long[..250])] {
        server.failed(reason);
    }
    let groups = server.get("/deadletter/group").json();
    let told: Vec<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            assert!(group["oldest_on"].as_i64() <= group["newest_on"].as_i64());
            json!([group["kind"], group["error"], group["letters"], group["messages"]])
        })
        .collect();
    assert_eq!(told.len(), 3, "{groups}");
    let of = |error: &str, letters: u32| json!(["add_up_to", error, letters, 0]);
    assert_eq!(told[2], of("timed out", 1), "the smallest is last");
    assert!(
        told[..2].contains(&of("no luck", 2)) && told[..2].contains(&of(&"x".repeat(200), 2)),
        "{groups}"
    );
    let two = server.get("/deadletter/group?limit=2&kind=add_up_to").json();
    assert_eq!(two.as_array().unwrap()[..], groups.as_array().unwrap()[..2]);
    assert_eq!(server.get("/deadletter/group?kind=other").json(), json!([]));
}

fn a_group_is_redriven_by_its_kind_and_error(server: &Server) {
    let works: Vec<Value> = ["no luck at all", "timed out", "no luck at all"]
        .map(|reason| server.failed(reason))
        .to_vec();
    let group = server.get("/deadletter/group").json()[0].clone();
    let chosen = format!(
        "/deadletter/redrive?kind={}&error={}",
        group["kind"].as_str().unwrap(),
        group["error"].as_str().unwrap().replace(' ', "%20")
    );
    let redriven = send(server.address, "POST", &chosen, &[], None).json();
    assert_eq!(redriven["redriven"], group["letters"]);
    let statuses: Vec<Value> = works.iter().map(|work| server.work(work)["status"].clone()).collect();
    assert_eq!(statuses, ["pending", "failed", "pending"]);
    assert_eq!(server.get("/deadletter/group").json().as_array().unwrap().len(), 1);
}

fn the_last_seconds_tell_what_was_done(server: &Server) {
    let seconds = || server.get("/stats/seconds").json();
    let none = seconds();
    assert_eq!(none["done"], json!([]));
    let length = none["p50_ms"].as_array().unwrap().len();
    assert!(
        length > 100 && none["p99_ms"].as_array().unwrap().iter().all(Value::is_null),
        "{none}"
    );
    for bound in 1..4 {
        server.compute(&server.created(bound));
    }
    let total = |told: &Value| -> i64 {
        let done = told["done"][0]["per_second"].as_array();
        done.map_or(0, |done| done.iter().filter_map(Value::as_i64).sum())
    };
    until("their seconds are over", || total(&seconds()) == 3);
    let told = seconds();
    assert_eq!(told["done"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["done"][0]["kind"], "add_up_to");
    let per_second = told["done"][0]["per_second"].as_array().unwrap();
    assert_eq!(per_second.len(), length);
    for (second, done) in per_second.iter().enumerate() {
        let (p50, p99) = (&told["p50_ms"][second], &told["p99_ms"][second]);
        assert_eq!(p50.is_null(), done == 0, "{told}");
        assert!(p50.as_f64() <= p99.as_f64());
    }
}

fn unknown_parameters_and_values_are_refused(server: &Server) {
    for path in [
        "/work/count?statsu=done",
        "/work/count?status=gone",
        "/work/count?since=x",
        "/work/count?kind=A",
        "/deadletter/group?error=x",
        "/deadletter/group?limit=0",
        "/deadletter/group?limit=1001",
        "/deadletter/group?kind=A",
        "/stats/seconds?kind=x",
    ] {
        server.get(path).problem(400);
    }
}
