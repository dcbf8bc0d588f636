//! `/run` and `/worker`: a worker over HTTP from the declaration of its kind to the result of a work.

use std::time::{Duration, Instant};

use pp_backend_api::Config;
use pp_testkit::client::{Answer, send};
use serde_json::{Value, json};

use super::access::{bearer, key};
use super::embedded::{Embedded, server, server_with};
use super::faults::until;
use super::server::{CONFIG, Server};

fn ask(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    send(
        server.address,
        method,
        path,
        &headers,
        Some(body.to_string().as_bytes()),
    )
}

fn post(server: &Server, path: &str, body: Value) -> Answer {
    ask(server, "POST", path, &body)
}

/// A server with a kind that workers claim.
fn with_resize(policy: Value) -> Embedded {
    let server = server();
    declare(&server, policy);
    server
}

fn declare(server: &Server, policy: Value) {
    let declared = ask(
        server,
        "PUT",
        "/kind/resize",
        &json!({"delivery": "pull", "policy": policy}),
    );
    assert_eq!(declared.with(200)["delivery"], "pull");
}

fn created(server: &Server, args: Value) -> Value {
    post(server, "/work", json!({"kind": "resize", "args": args})).with(200)
}

fn claims(server: &Server, max: u16) -> Vec<Value> {
    let wanted = json!({"kinds": ["resize"], "worker": "py-1", "max": max, "wait": "5s"});
    let answer = post(server, "/run/claim", wanted).with(200);
    answer["runs"].as_array().unwrap().clone()
}

fn claimed(server: &Server) -> Value {
    let mut runs = claims(server, 1);
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

fn lost(answer: &Answer, why: &str) {
    let problem = answer.with(409);
    assert_eq!(
        (&problem["code"], &problem["why"]),
        (&json!("lease-lost"), &json!(why)),
        "{problem}"
    );
}

#[test]
fn a_worker_claims_a_work_and_ends_it_with_its_result() {
    let server = with_resize(json!({}));
    let work = created(&server, json!({"width": 100}));
    let run = claimed(&server);
    assert_eq!(
        (&run["id"], &run["work_code"], &run["kind"]),
        (&work["id"], &work["work_code"], &json!("resize"))
    );
    assert_eq!((&run["args"], &run["attempt"]), (&json!({"width": 100}), &json!(1)));
    assert!(run["idempotency_key"].as_str().unwrap().starts_with("resize/"), "{run}");
    let token = &run["run"];
    assert_eq!(server.work(&work)["status"], "running");

    let beat = json!({"run": token, "progress": 40, "note": "half way", "lease": "90s"});
    let beat = post(&server, "/run/heartbeat", beat).with(200);
    assert_eq!(beat["cancel_requested"], false);
    assert!(
        beat["lease_until"].as_i64() > run["lease_until"].as_i64(),
        "{beat} {run}"
    );
    until("the progress is shown", || server.work(&work)["progress"] == 40);

    let end = json!({"run": token, "result": {"bytes": 1.10}});
    let ended = post(&server, "/run/complete", end.clone());
    let done = ended.with(200);
    assert_eq!(
        (&done["id"], &done["status"], &done["result"]),
        (&work["id"], &json!("done"), &json!({"bytes": 1.1}))
    );
    assert_eq!(server.work(&work), done, "the next read shows it");
    assert_eq!(post(&server, "/run/complete", end).with(200), done, "the same again");
    let told: Vec<String> = server
        .history(&work)
        .into_iter()
        .map(|(variable, _)| variable)
        .collect();
    let all = [
        "work/created",
        "compute/start",
        "compute/progress",
        "compute/stop",
        "compute/result",
    ];
    assert_eq!(told, all);
    lost(
        &post(&server, "/run/fail", json!({"run": token, "error": "late"})),
        "finished",
    );
}

#[test]
fn a_result_may_be_left_out_and_is_null() {
    let server = with_resize(json!({}));
    let work = created(&server, json!(1));
    post(&server, "/run/complete", json!({"run": claimed(&server)["run"]})).with(200);
    let done = server.work(&work);
    assert_eq!(
        (&done["status"], done.get("result")),
        (&json!("done"), Some(&Value::Null))
    );
}

#[test]
fn a_failure_is_tried_again_until_the_attempts_are_used_up() {
    let server = with_resize(json!({"max_attempts": 2, "backoff": {"base": "0s"}}));
    let work = created(&server, json!(1));
    let first = claimed(&server);
    let failure = json!({"run": first["run"], "error": "no disk"});
    let failed = post(&server, "/run/fail", failure.clone()).with(200);
    assert_eq!(
        (&failed["status"], &failed["error"], &failed["attempt"]),
        (&json!("pending"), &json!("no disk"), &json!(2))
    );
    assert_eq!(
        post(&server, "/run/fail", failure.clone()).with(200),
        failed,
        "the same again"
    );
    lost(
        &post(&server, "/run/complete", json!({"run": first["run"]})),
        "finished",
    );

    let second = claimed(&server);
    assert_eq!(
        (&second["attempt"], &second["idempotency_key"]),
        (&json!(2), &first["idempotency_key"])
    );
    lost(&post(&server, "/run/fail", failure), "finished");
    let failed = post(&server, "/run/fail", json!({"run": second["run"], "error": "no disk"})).with(200);
    assert_eq!(failed["status"], "failed");
    let letters = server.get("/deadletter").with(200);
    assert_eq!(
        (&letters[0]["work_id"], &letters[0]["reason"]),
        (&work["id"], &json!("no disk"))
    );
}

#[test]
fn a_failure_can_be_for_good_or_wait_and_a_snooze_is_none() {
    let server = with_resize(json!({"max_attempts": 1}));
    created(&server, json!(1));
    let run = claimed(&server);
    let failed = post(
        &server,
        "/run/fail",
        json!({"run": run["run"], "error": "bad", "permanent": true}),
    )
    .with(200);
    assert_eq!(failed["status"], "failed");

    let work = created(&server, json!(2));
    let run = claimed(&server);
    let snoozed = post(&server, "/run/snooze", json!({"run": run["run"], "for": "0s"})).with(200);
    assert_eq!((&snoozed["status"], snoozed.get("error")), (&json!("pending"), None));
    let run = claimed(&server);
    assert_eq!((&run["id"], &run["attempt"]), (&work["id"], &json!(2)));

    let server = with_resize(json!({}));
    created(&server, json!(3));
    let run = claimed(&server);
    let fail = json!({"run": run["run"], "error": "later", "retry_after": "1h"});
    post(&server, "/run/fail", fail).with(200);
    let none = json!({"kinds": ["resize"]});
    assert_eq!(post(&server, "/run/claim", none).with(200), json!({"runs": []}));
}

#[test]
fn a_run_that_is_over_says_why() {
    let server = with_resize(json!({}));
    let work = created(&server, json!(1));
    let path = format!("/work/{}", work["id"]);
    let run = claimed(&server);
    ask(&server, "PATCH", &path, &json!({"args": 2})).with(200);
    lost(&post(&server, "/run/complete", json!({"run": run["run"]})), "updated");
    lost(&post(&server, "/run/heartbeat", json!({"run": run["run"]})), "updated");

    let run = claimed(&server);
    assert_eq!(run["args"], 2);
    post(&server, &format!("{path}/cancel"), json!({})).with(200);
    let beat = post(&server, "/run/heartbeat", json!({"run": run["run"]})).with(200);
    assert_eq!(beat, json!({"lease_until": null, "cancel_requested": true}));
    lost(&post(&server, "/run/complete", json!({"run": run["run"]})), "cancelled");
    post(&server, &format!("{path}/retry"), json!({})).with(200);
    lost(
        &post(&server, "/run/snooze", json!({"run": run["run"], "for": "1s"})),
        "redriven",
    );

    let run = claimed(&server);
    send(server.address, "DELETE", &path, &[], None);
    lost(&post(&server, "/run/complete", json!({"run": run["run"]})), "cancelled");

    created(&server, json!(3));
    let silent = json!({"kinds": ["resize"], "lease": "1s"});
    let silent = post(&server, "/run/claim", silent).with(200)["runs"][0]["run"].clone();
    let mut again = Vec::new();
    until("the lease runs out", || {
        server.runtime.block_on(server.store.rescue(20, 10)).unwrap();
        again = claims(&server, 1);
        !again.is_empty()
    });
    lost(&post(&server, "/run/complete", json!({"run": silent})), "expired");
    post(&server, "/run/complete", json!({"run": again[0]["run"]})).with(200);
}

#[test]
fn an_array_of_reports_has_an_answer_for_each() {
    let server = with_resize(json!({}));
    (0..3).for_each(|number| drop(created(&server, json!(number))));
    let runs = claims(&server, 10);
    assert_eq!(runs.len(), 3);
    let beats: Vec<Value> = runs.iter().map(|run| json!({"run": run["run"]})).collect();
    assert_eq!(
        post(&server, "/run/heartbeat", json!(beats))
            .with(200)
            .as_array()
            .unwrap()
            .len(),
        3
    );
    post(
        &server,
        "/run/fail",
        json!({"run": runs[1]["run"], "error": "x", "retry_after": "1h"}),
    )
    .with(200);
    let ends: Vec<Value> = runs
        .iter()
        .map(|run| json!({"run": run["run"], "result": run["id"]}))
        .collect();
    let mut ends_twice = ends.clone();
    ends_twice.extend(ends);
    let answers = post(&server, "/run/complete", json!(ends_twice)).with(200);
    for (place, run) in runs.iter().chain(&runs).enumerate() {
        let answer = &answers[place];
        match place % 3 {
            1 => assert_eq!(
                (&answer["status"], &answer["why"]),
                (&json!(409), &json!("finished")),
                "{answer}"
            ),
            _ => assert_eq!(
                (&answer["status"], &answer["result"]),
                (&json!("done"), &run["id"]),
                "{answer}"
            ),
        }
    }
    let problem = post(
        &server,
        "/run/complete",
        json!([{"run": runs[0]["run"]}, {"run": "guess"}]),
    );
    assert!(problem.problem(422).contains("item 1"), "{problem:?}");
    assert!(
        post(&server, "/run/complete", json!([]))
            .problem(422)
            .contains("1 to 1000")
    );
}

#[test]
fn a_waiting_worker_gets_a_new_work_at_once_and_nothing_after_its_wait() {
    let server = with_resize(json!({}));
    let began = Instant::now();
    let wanted = json!({"kinds": ["resize"], "wait": "300ms"});
    assert_eq!(post(&server, "/run/claim", wanted).with(200), json!({"runs": []}));
    assert!(began.elapsed() >= Duration::from_millis(300));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let address = server.address;
            std::thread::spawn(move || {
                let body = json!({"kinds": ["resize"], "wait": "2s"}).to_string();
                let headers = [("content-type", "application/json")];
                let began = Instant::now();
                let answer = send(address, "POST", "/run/claim", &headers, Some(body.as_bytes())).with(200);
                (answer["runs"].as_array().unwrap().len(), began.elapsed())
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    created(&server, json!(1));
    let answers: Vec<(usize, Duration)> = waiting.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(
        answers.iter().map(|(runs, _)| runs).sum::<usize>(),
        1,
        "one work wakes one worker"
    );
    let (_, after) = answers.iter().find(|(runs, _)| *runs == 1).unwrap();
    assert!(*after < Duration::from_millis(900), "{after:?}");
}

#[test]
fn a_worker_that_leaves_while_it_waits_takes_no_work_along() {
    use std::io::Write as _;
    let server = with_resize(json!({}));
    let body = json!({"kinds": ["resize"], "wait": "30s"}).to_string();
    let head = format!(
        "POST /run/claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut leaving = std::net::TcpStream::connect(server.address).unwrap();
    leaving.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(leaving);
    std::thread::sleep(Duration::from_millis(200));
    let work = created(&server, json!(1));
    let run = claimed(&server);
    assert_eq!((&run["id"], &run["attempt"]), (&work["id"], &json!(1)));
}

#[test]
fn waiting_workers_are_answered_when_the_service_stops() {
    let mut server = with_resize(json!({}));
    let address = server.address;
    let waiting = std::thread::spawn(move || {
        let body = json!({"kinds": ["resize"], "wait": "30s"}).to_string();
        send(
            address,
            "POST",
            "/run/claim",
            &[("content-type", "application/json")],
            Some(body.as_bytes()),
        )
    });
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    server.shut_down();
    assert_eq!(waiting.join().unwrap().with(200), json!({"runs": []}));
    server.stopped();
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn what_cannot_be_claimed_or_reported_is_said() {
    let server = server_with(Config {
        args_limit: 1_000,
        ..CONFIG
    });
    declare(&server, json!({}));
    let claim = |body: Value| post(&server, "/run/claim", body);
    for (body, said) in [
        (json!({}), "kinds"),
        (json!({"kinds": []}), "1 to 100"),
        (json!({"kinds": ["resize"], "max": 0}), "1 to 1000"),
        (json!({"kinds": ["resize"], "max": 1001}), "1 to 1000"),
        (
            json!({"kinds": ["resize"], "wait": "2m"}),
            "wait must be a duration from 0s to 1m",
        ),
        (json!({"kinds": ["resize"], "lease": 5}), "string"),
        (
            json!({"kinds": ["resize"], "lease": "10ms"}),
            "lease must be a duration from 1s to 1h",
        ),
        (json!({"kinds": ["resize"], "worker": "a b"}), "a worker's name"),
        (
            json!({"kinds": ["resize"], "worker": "consumer:x/1"}),
            "a worker's name",
        ),
        (json!({"kinds": ["resize"], "colour": 1}), "colour"),
        (json!({"kinds": ["resiz"]}), "similar ones are `resize`"),
    ] {
        let detail = claim(body.clone()).problem(422);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    let other = claim(json!({"kinds": ["add_up_to"]})).with(422);
    assert_eq!(other["code"], "other_delivery");
    created(&server, json!(1));
    let run = claimed(&server);
    for (path, body, said) in [
        ("complete", json!({"run": "x"}), "not a token"),
        ("complete", json!({"run": run["run"], "result": "a\0b"}), "/result"),
        ("fail", json!({"run": run["run"]}), "error"),
        (
            "fail",
            json!({"run": run["run"], "error": "x", "permanent": true, "retry_after": "1s"}),
            "contradict",
        ),
        (
            "fail",
            json!({"run": run["run"], "error": "x", "retry_after": "soon"}),
            "retry_after must be a duration",
        ),
        ("snooze", json!({"run": run["run"]}), "for"),
        ("heartbeat", json!({"run": run["run"], "progress": 101}), "0 to 100"),
        ("heartbeat", json!({"run": run["run"], "note": "x"}), "needs a progress"),
    ] {
        let detail = post(&server, &format!("/run/{path}"), body).problem(422);
        assert!(detail.contains(said), "{path}: {detail}");
    }
    assert!(
        post(
            &server,
            "/run/complete",
            json!({"run": run["run"], "result": "x".repeat(2_000)})
        )
        .problem(422)
        .contains("longer than 1000 bytes")
    );
    // None of them ended the run.
    post(&server, "/run/complete", json!({"run": run["run"]})).with(200);
}

#[test]
fn a_key_claims_and_ends_works_of_its_kinds_alone() {
    let server = with_resize(json!({}));
    created(&server, json!(1));
    let own = bearer(&key(&server, "resizer", "work:resize"));
    let other = bearer(&key(&server, "mailer", "work:mail"));
    let with = |authorization: &str, path: &str, body: Value| {
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        send(
            server.address,
            "POST",
            path,
            &headers,
            Some(body.to_string().as_bytes()),
        )
    };
    until("keys are asked for", || server.get("/stats").status == 401);
    let wanted = json!({"kinds": ["resize"]});
    assert!(
        with(&other, "/run/claim", wanted.clone())
            .problem(403)
            .ends_with("work:resize")
    );
    let run = with(&own, "/run/claim", wanted).with(200)["runs"][0]["run"].clone();
    let end = json!({"run": run});
    assert_eq!(with(&other, "/run/complete", end.clone()).status, 403);
    assert_eq!(with(&other, "/run/heartbeat", json!([end.clone()])).status, 403);
    with(&own, "/run/complete", end).with(200);
}

#[test]
fn workers_are_listed_with_what_they_work_on() {
    let server = with_resize(json!({}));
    assert_eq!(server.get("/worker").with(200), json!([]));
    let work = created(&server, json!(1));
    let run = claimed(&server);
    let beat = json!({"run": run["run"], "progress": 10});
    post(&server, "/run/heartbeat", beat).with(200);
    until("the worker is known", || {
        server.get("/worker").with(200)[0]["kinds"] == json!(["resize"])
    });
    let workers = server.get("/worker").with(200);
    let worker = &workers[0];
    assert_eq!((&worker["name"], &worker["is_there"]), (&json!("py-1"), &json!(true)));
    let of_worker = &worker["works"][0];
    assert_eq!(
        (&of_worker["id"], &of_worker["kind"], &of_worker["progress"]),
        (&work["id"], &json!("resize"), &json!(10))
    );
    assert!(
        of_worker["since"].as_i64() <= of_worker["seen_on"].as_i64(),
        "{of_worker}"
    );
    until("the kind has a worker", || {
        server.get("/kind/resize").with(200)["has_worker"] == true
    });
    post(&server, "/run/complete", json!({"run": run["run"]})).with(200);
    assert_eq!(server.get("/worker").with(200)[0]["works"], json!([]));
    assert!(server.get("/worker?limit=0").problem(400).contains("limit"));
}

#[test]
fn a_kind_goes_over_to_workers_and_back_with_what_it_was_sent() {
    let server = server();
    let declare = |body: Value| ask(&server, "PUT", "/kind/resize", &body).with(200);
    assert_eq!(declare(json!({}))["delivery"], "queue");
    let work = created(&server, json!(1));
    let claim = server.claim_of(&work);
    server
        .runtime
        .block_on(server.store.mark_sent(std::slice::from_ref(&claim)))
        .unwrap();
    declare(json!({"delivery": "pull"}));
    let run = claimed(&server);
    assert_eq!(run["id"], work["id"]);
    declare(json!({}));
    post(
        &server,
        "/run/fail",
        json!({"run": run["run"], "error": "x", "retry_after": "0s"}),
    )
    .with(200);
    assert_eq!(server.claim_of(&work).run.attempt, 2, "it is sent to the queue again");
}
