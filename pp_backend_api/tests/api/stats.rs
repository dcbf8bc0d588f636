//! `/stats`: the counters as a client sees them.

use serde_json::{Value, json};

use super::faults::until;
use super::scheduled::now;
use super::server::Server;
use pp_testkit::client::send;

on_both! {
    the_counters_match_the_works
    a_done_work_counts_in_rates_and_latencies
    a_scheduled_work_joins_the_backlog_at_its_time
    a_parameter_is_refused
}

fn stats(server: &Server) -> Value {
    let answer = server.get("/stats");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{answer:?}"
    );
    answer.json()
}

fn the_counters_match_the_works(server: &Server) {
    let none = json!({"pending": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0});
    let empty = json!({
        "works": {"api": none, "consumer": none, "app": none},
        "works_per_second": {"over_1s": 0.0, "over_60s": 0.0},
        "latency_ms": {"p50": null, "p99": null},
        "backlog": 0,
        "scheduled": 0,
        "newest": [],
    });
    assert_eq!(stats(server), empty);

    server.failed("no luck");
    let works: Vec<Value> = (4..8).map(|bound| server.created(bound)).collect();
    server.compute(&works[0]);
    let path = format!("/work/{}", works[1]["id"]);
    assert_eq!(send(server.address, "DELETE", &path, &[], None).status, 204);
    let stats = stats(server);
    let api = json!({"pending": 2, "running": 0, "done": 1, "failed": 1, "cancelled": 0});
    assert_eq!(stats["works"], json!({"api": api, "consumer": none, "app": none}));
    assert_eq!(stats["backlog"], 2);
    let newest = server.get("/work?limit=10").json();
    assert_eq!(stats["newest"], newest, "as a search shows them");
    assert_eq!(server.get("/stats/").json()["works"], stats["works"]);
}

fn a_done_work_counts_in_rates_and_latencies(server: &Server) {
    let work = server.created(4);
    server.compute(&work);
    until("the second is over", || {
        stats(server)["works_per_second"]["over_60s"] != 0.0
    });
    let stats = stats(server);
    let per_minute = stats["works_per_second"]["over_60s"].as_f64().unwrap() * 60.0;
    assert!((per_minute - 1.0).abs() < 1e-6, "{stats}");
    let latency = &stats["latency_ms"];
    assert!(latency["p50"].as_f64().unwrap() >= 1.0, "{stats}");
    assert_eq!(latency["p50"], latency["p99"], "of one work");
}

fn a_scheduled_work_joins_the_backlog_at_its_time(server: &Server) {
    let scheduled = |run_at: i64| {
        let answer = server.post(&format!(r#"{{"add_up_to":4,"run_at":{run_at}}}"#));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let apart = || {
        let stats = stats(server);
        let pending = &stats["works"]["api"]["pending"];
        [&stats["scheduled"], &stats["backlog"], pending].map(|count| count.as_i64().unwrap())
    };
    server.created(5);
    let soon = scheduled(now() + 4);
    let later: Vec<Value> = (0..3).map(|_| scheduled(now() + 3600)).collect();
    scheduled(now() - 5);
    assert_eq!(apart(), [4, 2, 6]);
    until("its time has come", || apart() == [3, 3, 6]);
    assert!(now() >= soon["run_at"].as_i64().unwrap(), "not before");

    // Changes of the work count at once.
    let path = |work: &Value| format!("/work/{}", work["id"]);
    let json = [("content-type", "application/json")];
    let updated = send(
        server.address,
        "PATCH",
        &path(&later[0]),
        &json,
        Some(br#"{"add_up_to":5}"#),
    );
    assert_eq!((updated.status, apart()), (200, [3, 3, 6]));
    let cancel = format!("{}/cancel", path(&later[0]));
    assert_eq!(send(server.address, "POST", &cancel, &[], None).status, 200);
    assert_eq!(apart(), [2, 3, 5]);
    assert_eq!(send(server.address, "DELETE", &path(&later[1]), &[], None).status, 204);
    assert_eq!(apart(), [1, 3, 4]);
    let retry = format!("{}/retry", path(&later[0]));
    assert_eq!(send(server.address, "POST", &retry, &[], None).status, 200);
    assert_eq!(apart(), [2, 3, 5]);
}

fn a_parameter_is_refused(server: &Server) {
    for query in ["x=1", "limit=5", "rebuild=true", "x"] {
        server.get(&format!("/stats?{query}")).problem(400);
    }
    assert_eq!(server.get("/stats?").status, 200);
    let head = send(server.address, "HEAD", "/stats", &[], None);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}
