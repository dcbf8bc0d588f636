//! `POST /work/{id}/cancel` and `POST /work/{id}/retry`.

use pp_lib::domain::Json;
use std::time::Duration;

use pp_lib::store::{Completed, Outcome};
use serde_json::Value;

use super::faults::until;
use super::server::Server;
use pp_testkit::client::{Answer, send};

on_both! {
    a_cancelled_work_is_readable_and_found_by_its_status
    a_running_work_is_cancelled_and_its_late_result_has_no_effect
    a_finished_work_is_not_cancelled
    a_retry_starts_a_failed_or_cancelled_work_again
    a_retry_refuses_an_unfinished_or_done_work
    a_missing_work_is_404
    cancel_and_retry_apply_only_to_the_given_version
    a_repeated_key_cancels_once_with_one_answer
    a_body_or_a_query_is_refused
}

fn post(server: &Server, work: &Value, deed: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/work/{}/{deed}", work["id"]);
    send(server.address, "POST", &path, headers, None)
}

/// Asserts that the answer matches a later read.
fn changed(server: &Server, work: &Value, deed: &str, status: &str) -> Value {
    let answer = post(server, work, deed, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let changed = answer.json();
    assert_eq!(answer.header("etag"), format!("\"{}\"", changed["version"]));
    assert_eq!((&changed["id"], &changed["status"]), (&work["id"], &status.into()));
    assert!(changed["version"].as_i64() > work["version"].as_i64(), "{changed}");
    assert_eq!(changed, server.work(work));
    changed
}

fn last_variable(server: &Server, work: &Value) -> String {
    server.history(work).pop().unwrap().0
}

fn a_cancelled_work_is_readable_and_found_by_its_status(server: &Server) {
    let (kept, work) = (server.created(4), server.created(5));
    let cancelled = changed(server, &work, "cancel", "cancelled");
    assert_eq!(
        (&cancelled["done"], &cancelled["result"]),
        (&false.into(), &Value::Null)
    );
    let code = work["work_code"].as_str().unwrap();
    assert_eq!(server.get(&format!("/work/code/{code}")).json(), cancelled);
    assert_eq!(server.history(&work).len(), 2);
    assert_eq!(last_variable(server, &work), "work/cancelled");
    assert_eq!(
        server.get("/work/search?status=cancelled").json(),
        Value::from(vec![cancelled])
    );
    assert_eq!(
        server.get("/work?status=pending").json(),
        Value::from(vec![kept.clone()])
    );
    let stats = server.get("/stats").json();
    assert_eq!(
        (&stats["works"]["api"]["cancelled"], &stats["backlog"]),
        (&1.into(), &1.into())
    );
    server.claim_of(&kept);
    assert!(server.claimed().is_empty(), "the cancelled one is never due");
}

fn a_running_work_is_cancelled_and_its_late_result_has_no_effect(server: &Server) {
    let work = server.created(5);
    let claim = server.claim_of(&work);
    let lease = Duration::from_secs(60);
    let started = server.completed(&claim, Outcome::running(lease));
    assert_eq!(started, Completed::Started(claim.args.clone()));
    let cancelled = changed(server, &work, "cancel", "cancelled");
    let result = Outcome::Done { result: Json::from(15) };
    assert_eq!(server.completed(&claim, result), Completed::Superseded);
    assert_eq!(server.work(&work), cancelled);
}

fn a_finished_work_is_not_cancelled(server: &Server) {
    let (done, ended) = (server.created(5), server.created(6));
    server.compute(&done);
    changed(server, &ended, "cancel", "cancelled");
    for work in [done, server.failed("no luck"), ended] {
        let before = server.work(&work);
        let answer = post(server, &work, "cancel", &[]);
        let detail = answer.problem(409);
        let status = before["status"].as_str().unwrap();
        assert!(detail.contains(&format!("the work is {status};")), "{detail}");
        assert_eq!(answer.header("retry-after"), "", "it stays so");
        assert_eq!(server.work(&work), before);
    }
}

fn a_retry_starts_a_failed_or_cancelled_work_again(server: &Server) {
    let ended = server.created(4);
    changed(server, &ended, "cancel", "cancelled");
    let failed = server.failed("no luck");
    for (work, result) in [(ended, 10), (failed, 91)] {
        changed(server, &server.work(&work), "retry", "pending");
        assert_eq!(last_variable(server, &work), "work/redriven");
        server.compute(&work);
        assert_eq!(server.work(&work)["result"], result);
    }
    assert_eq!(
        server.get("/deadletter").body,
        "[]",
        "the letter of the one that had failed"
    );
}

fn a_retry_refuses_an_unfinished_or_done_work(server: &Server) {
    let (done, running, pending) = (server.created(4), server.created(5), server.created(6));
    let claims = server.claimed_until(&pending);
    for claim in claims {
        let lease = Duration::from_secs(60);
        if claim.id.0 == done["id"] {
            server.completed(&claim, Outcome::Done { result: Json::from(10) });
        } else if claim.id.0 == running["id"] {
            server.completed(&claim, Outcome::running(lease));
        }
    }
    for (work, status) in [(done, "done"), (running, "running"), (pending, "pending")] {
        let before = server.work(&work);
        let detail = post(server, &work, "retry", &[]).problem(409);
        assert!(detail.contains(&format!("the work is {status};")), "{detail}");
        assert_eq!(server.work(&work), before);
    }
}

fn a_missing_work_is_404(server: &Server) {
    let deleted = server.created(5);
    let path = format!("/work/{}", deleted["id"]);
    assert_eq!(send(server.address, "DELETE", &path, &[], None).status, 204);
    for deed in ["cancel", "retry"] {
        for id in [deleted["id"].clone(), 0.into(), (-1).into(), 999.into()] {
            let work = serde_json::json!({ "id": id });
            for headers in [&[][..], &[("if-match", "\"1\"")], &[("if-match", "\"1\", \"2\"")]] {
                post(server, &work, deed, headers).problem(404);
            }
        }
        let path = format!("/work/x/{deed}");
        send(server.address, "POST", &path, &[], None).problem(400);
        let path = format!("/work/1/{deed}");
        let other = send(server.address, "GET", &path, &[], None);
        other.problem(405);
        assert_eq!(other.header("allow"), "POST");
    }
}

fn cancel_and_retry_apply_only_to_the_given_version(server: &Server) {
    let work = server.created(5);
    for stale in ["\"0\"", "\"2\"", "W/\"1\"", "\"x\", \"2\""] {
        post(server, &work, "cancel", &[("if-match", stale)]).problem(412);
    }
    post(server, &work, "cancel", &[("if-match", "1")]).problem(400);
    assert_eq!(server.work(&work), work);
    assert_eq!(post(server, &work, "cancel", &[("if-match", "\"1\"")]).status, 200);
    // The work is finished at another version, so the client's version is outdated.
    post(server, &work, "cancel", &[("if-match", "\"1\"")]).problem(412);
    post(server, &work, "retry", &[("if-match", "\"1\"")]).problem(412);
    assert_eq!(
        post(server, &work, "retry", &[("if-match", "\"1\", \"2\"")]).status,
        200
    );
    assert_eq!(post(server, &work, "cancel", &[("if-match", "*")]).status, 200);
}

fn a_repeated_key_cancels_once_with_one_answer(server: &Server) {
    let work = server.created(5);
    let keyed = |deed, key| post(server, &work, deed, &[("idempotency-key", key)]);
    let first = keyed("cancel", "k");
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(keyed("retry", "k").status, 200, "another path is another request");
    for _ in 0..2 {
        let again = keyed("cancel", "k");
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("etag"), first.header("etag"));
        assert_eq!(again.header("idempotent-replayed"), "true");
    }
    assert_eq!(server.work(&work)["status"], "pending");
    // A refusal releases the key.
    keyed("retry", "k2").problem(409);
    assert_eq!(keyed("cancel", "k3").status, 200);
    until("the key is free", || keyed("retry", "k2").status == 200);
}

fn a_body_or_a_query_is_refused(server: &Server) {
    let work = server.created(5);
    let json = [("content-type", "application/json")];
    for deed in ["cancel", "retry"] {
        let path = format!("/work/{}/{deed}", work["id"]);
        let body = Some(&br#"{"reason":"x"}"#[..]);
        let detail = send(server.address, "POST", &path, &json, body).problem(422);
        assert!(detail.contains("unknown field `reason`"), "{detail}");
        send(server.address, "POST", &path, &[], Some(b"x")).problem(415);
        send(server.address, "POST", &format!("{path}?x=1"), &[], None).problem(400);
    }
    assert_eq!(server.work(&work), work);
    let path = format!("/work/{}/cancel", work["id"]);
    assert_eq!(send(server.address, "POST", &path, &json, Some(b"{}")).status, 200);
}
