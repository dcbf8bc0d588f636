//! `PATCH` and `DELETE` of a work, at any version or at a given one.

use pp_lib::domain::Json;
use std::time::Duration;

use pp_lib::store::{Completed, Outcome};
use serde_json::Value;

use super::server::Server;
use pp_testkit::client::{Answer, send};

on_both! {
    a_pending_work_is_updated_and_computed_once
    an_updated_running_work_ignores_its_late_result
    an_updated_done_work_is_computed_again
    an_updated_failed_work_loses_its_letter
    a_deleted_work_is_gone_from_every_read
    a_deleted_work_takes_no_late_result
    a_missing_work_is_404
    a_change_applies_only_to_the_given_version
    an_invalid_body_changes_nothing
}

fn path(work: &Value) -> String {
    format!("/work/{}", work["id"])
}

fn patch(server: &Server, path: &str, headers: &[(&str, &str)], json: &str) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    send(server.address, "PATCH", path, &headers, Some(json.as_bytes()))
}

fn delete(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(server.address, "DELETE", path, headers, None)
}

/// Updates a work to this bound.
fn updated(server: &Server, work: &Value, bound: u32) -> Value {
    let answer = patch(server, &path(work), &[], &format!(r#"{{"add_up_to":{bound}}}"#));
    assert_eq!(answer.status, 200, "{answer:?}");
    let updated = answer.json();
    assert_eq!(answer.header("etag"), format!("\"{}\"", updated["version"]));
    assert_eq!(
        (&updated["add_up_to"], &updated["status"], &updated["result"]),
        (&bound.into(), &"pending".into(), &Value::Null)
    );
    assert!(updated["version"].as_i64() > work["version"].as_i64(), "{updated}");
    assert_eq!(updated, server.work(work));
    updated
}

fn a_pending_work_is_updated_and_computed_once(server: &Server) {
    let work = server.created(5);
    for bound in [6, 7, 8] {
        updated(server, &work, bound);
    }
    server.compute(&work);
    assert_eq!(server.work(&work)["result"], 36);
    let told: Vec<_> = server
        .history(&work)
        .into_iter()
        .map(|(variable, _)| variable)
        .collect();
    let updates = ["work/updated"; 3];
    let computed = ["compute/start", "compute/stop", "compute/result"];
    assert_eq!(told, [&["work/created"][..], &updates, &computed].concat());
    assert!(server.claimed().is_empty());
}

fn an_updated_running_work_ignores_its_late_result(server: &Server) {
    let work = server.created(5);
    let old = server.claim_of(&work);
    let lease = Duration::from_secs(60);
    let started = server.completed(&old, Outcome::running(lease));
    assert_eq!(started, Completed::Started(old.args.clone()));
    assert_eq!(server.work(&work)["status"], "running");
    updated(server, &work, 6);
    assert_eq!(
        server.completed(&old, Outcome::Done { result: Json::from(15) }),
        Completed::Superseded
    );
    server.compute(&work);
    assert_eq!(server.work(&work)["result"], 21);
}

fn an_updated_done_work_is_computed_again(server: &Server) {
    let work = server.created(5);
    server.compute(&work);
    assert_eq!(server.work(&work)["result"], 15);
    updated(server, &server.work(&work), 4);
    server.compute(&work);
    assert_eq!(server.work(&work)["result"], 10);
}

fn an_updated_failed_work_loses_its_letter(server: &Server) {
    let work = server.failed("no luck");
    assert_eq!(server.get("/deadletter").json()[0]["work_id"], work["id"]);
    updated(server, &work, 4);
    assert_eq!(server.get("/deadletter").body, "[]");
    server.compute(&work);
    assert_eq!(server.work(&work)["result"], 10);
}

fn a_deleted_work_is_gone_from_every_read(server: &Server) {
    let (kept, work) = (server.created(4), server.created(5));
    let answer = delete(server, &path(&work), &[]);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let code = work["work_code"].as_str().unwrap();
    server.get(&path(&work)).problem(404);
    server.get(&format!("{}/events", path(&work))).problem(404);
    server.get(&format!("/work/code/{code}")).problem(404);
    for query in ["", "?status=cancelled", "?done=false", &format!("?work_code={code}")] {
        let found = server.get(&format!("/work/search{query}")).json();
        assert!(
            found.as_array().unwrap().iter().all(|found| *found == kept),
            "{query}: {found}"
        );
    }
    delete(server, &path(&work), &[]).problem(404);
    patch(server, &path(&work), &[], r#"{"add_up_to":5}"#).problem(404);
    server.claim_of(&kept);
    assert!(server.claimed().is_empty());
}

fn a_deleted_work_takes_no_late_result(server: &Server) {
    let work = server.created(5);
    let claim = server.claim_of(&work);
    assert_eq!(delete(server, &path(&work), &[]).status, 204);
    assert_eq!(
        server.completed(&claim, Outcome::Done { result: Json::from(15) }),
        Completed::Superseded
    );
    server.get(&path(&work)).problem(404);
    let done = server.created(5);
    server.compute(&done);
    for work in [done, server.failed("no luck")] {
        assert_eq!(delete(server, &path(&work), &[]).status, 204);
    }
    assert_eq!(server.get("/deadletter").body, "[]");
    assert_eq!(server.count(), 0);
}

fn a_missing_work_is_404(server: &Server) {
    server.created(5);
    for id in ["0", "-1", "2", "9223372036854775808"] {
        let path = format!("/work/{id}");
        for headers in [
            &[][..],
            &[("if-match", "*")],
            &[("if-match", "\"1\"")],
            &[("if-match", "\"1\", \"2\"")],
        ] {
            patch(server, &path, headers, r#"{"add_up_to":5}"#).problem(404);
            delete(server, &path, headers).problem(404);
        }
    }
    patch(server, "/work/x", &[], r#"{"add_up_to":5}"#).problem(400);
    delete(server, "/work/x", &[]).problem(400);
    assert_eq!(server.count(), 1);
}

fn a_change_applies_only_to_the_given_version(server: &Server) {
    let work = server.created(5);
    let path = path(&work);
    let body = r#"{"add_up_to":6}"#;
    for stale in ["\"0\"", "\"2\"", "\"01\"", "W/\"1\"", "\"x\", \"2\"", "\"x\""] {
        let header = [("if-match", stale)];
        patch(server, &path, &header, body).problem(412);
        delete(server, &path, &header).problem(412);
    }
    for malformed in ["1", "", "\"1", "\"1\" \"2\"", "*, \"1\""] {
        let header = [("if-match", malformed)];
        let detail = patch(server, &path, &header, body).problem(400);
        assert!(detail.contains("If-Match"), "{detail}");
        delete(server, &path, &header).problem(400);
    }
    assert_eq!(server.work(&work), work);
    for (version, known) in [(2, "\"1\""), (3, "*"), (4, "\"1\", \"3\"")] {
        let answer = patch(server, &path, &[("if-match", known)], body);
        assert_eq!(
            (answer.status, &answer.json()["version"]),
            (200, &version.into()),
            "{known}"
        );
    }
    let two = [("if-match", "\"3\""), ("if-match", "\"4\"")];
    assert_eq!(delete(server, &path, &two).status, 204);
}

fn an_invalid_body_changes_nothing(server: &Server) {
    let work = server.created(5);
    let path = path(&work);
    for (body, says) in [
        ("", "expected an object"),
        ("{}", "missing field `add_up_to`"),
        (r#"{"add_up_to":0}"#, "from 1 to 2147483647"),
        (r#"{"add_up_to":null}"#, "from 1 to 2147483647"),
        (r#"{"add_up_to":6,"run_at":5}"#, "unknown field `run_at`"),
        ("[6]", "expected an object"),
    ] {
        let detail = patch(server, &path, &[], body).problem(422);
        assert!(detail.contains(says), "{body}: {detail}");
    }
    patch(server, &path, &[], "{").problem(400);
    let text = [("content-type", "text/plain")];
    send(server.address, "PATCH", &path, &text, Some(br#"{"add_up_to":6}"#)).problem(415);
    patch(server, &path, &[], &" ".repeat(70_000)).problem(413);
    assert_eq!(server.work(&work), work);
}
