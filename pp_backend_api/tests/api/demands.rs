//! `POST /work/demand` with a broker in the process. The row confirms the demand.

use super::access::{bearer, key};
use super::server::Server;
use pp_testkit::client::{Answer, send};

on_both! {
    a_demand_is_a_work_of_the_consumer_under_its_code
    a_missing_bound_is_random
    a_repeated_key_makes_one_work
    concurrent_demands_under_one_key_make_one_work
    a_key_with_another_body_is_422
    a_key_stays_valid_after_an_update_of_its_work
    a_deleted_work_is_not_found_by_its_code
    an_invalid_demand_is_refused
}

fn demand(server: &Server, headers: &[(&str, &str)], json: &str) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    send(server.address, "POST", "/work/demand", &headers, Some(json.as_bytes()))
}

fn keyed(server: &Server, json: &str) -> Answer {
    demand(server, &[("idempotency-key", "k")], json)
}

/// The code of the accepted demand.
fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    let code = answer.json()["work_code"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/work/code/{code}"));
    assert_eq!(answer.header("etag"), "\"0\"");
    code
}

fn a_demand_is_a_work_of_the_consumer_under_its_code(server: &Server) {
    let answer = demand(server, &[], r#"{"add_up_to":4}"#);
    let code = accepted(&answer);
    let created_on = answer.json()["created_on"].as_i64().unwrap();
    assert_eq!(
        answer.body,
        format!(
            r#"{{"id":null,"work_code":"{code}","add_up_to":4,"done":false,"created_on":{created_on},"updated_on":{created_on},"status":"pending","result":null,"version":0,"kind":"add_up_to"}}"#
        )
    );
    assert!(code.starts_with("consumer-"), "{code}");
    let work = server.get(&format!("/work/code/{code}"));
    assert_eq!(work.status, 200, "{work:?}");
    let work = work.json();
    assert!(
        work["created_on"].as_i64().unwrap().abs_diff(created_on) <= 20,
        "{work} {answer:?}"
    );
    server.compute(&work);
    let done = server.work(&work);
    assert_eq!((&done["status"], &done["result"]), (&"done".into(), &10.into()));
    let history: Vec<_> = server
        .history(&work)
        .into_iter()
        .map(|(variable, _)| variable)
        .collect();
    assert_eq!(history, ["compute/start", "compute/stop", "compute/result"]);
}

fn a_missing_bound_is_random(server: &Server) {
    for body in [None, Some(&b"{}"[..])] {
        let headers = [("content-type", "application/json")];
        let answer = send(server.address, "POST", "/work/demand/", &headers, body);
        accepted(&answer);
        let bound = answer.json()["add_up_to"].as_i64().unwrap();
        assert!((1..=99).contains(&bound), "{bound}");
    }
    assert_eq!(server.count(), 2);
}

fn a_repeated_key_makes_one_work(server: &Server) {
    let first = keyed(server, "{}");
    let code = accepted(&first);
    let second = keyed(server, "{}");
    assert_eq!(accepted(&second), code);
    assert_eq!(second.json()["add_up_to"], first.json()["add_up_to"]);
    // A key belongs to one call.
    let headers = [("idempotency-key", "k"), ("content-type", "application/json")];
    let posted = send(server.address, "POST", "/work", &headers, Some(b"{}"));
    assert_eq!(posted.status, 200, "{posted:?}");
    assert_eq!(server.count(), 2);
    // The key also holds after the work is done.
    server.compute(&server.get(&format!("/work/code/{code}")).json());
    assert_eq!(accepted(&keyed(server, "{}")), code);
    assert_eq!(server.count(), 2);
    // And it belongs to one caller.
    let me = bearer(&key(server, "me", "create"));
    let me = demand(server, &[("idempotency-key", "k"), ("authorization", &me)], "{}");
    assert_ne!(accepted(&me), code);
}

fn concurrent_demands_under_one_key_make_one_work(server: &Server) {
    let codes: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| accepted(&keyed(server, r#"{"add_up_to":7}"#))))
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    assert_eq!(server.count(), 1);
}

fn a_key_with_another_body_is_422(server: &Server) {
    let code = accepted(&keyed(server, r#"{"add_up_to":5}"#));
    let detail = keyed(server, r#"{"add_up_to":6}"#).problem(422);
    assert!(detail.contains("Idempotency-Key"), "{detail}");
    assert_eq!(server.get(&format!("/work/code/{code}")).json()["add_up_to"], 5);
    assert_eq!(server.count(), 1);
}

fn a_key_stays_valid_after_an_update_of_its_work(server: &Server) {
    let code = accepted(&keyed(server, r#"{"add_up_to":5}"#));
    let work = server.get(&format!("/work/code/{code}")).json();
    let headers = [("content-type", "application/json")];
    let path = format!("/work/{}", work["id"]);
    let patched = send(server.address, "PATCH", &path, &headers, Some(br#"{"add_up_to":6}"#));
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(accepted(&keyed(server, r#"{"add_up_to":5}"#)), code);
    assert_eq!(server.work(&work)["add_up_to"], 6);
}

fn a_deleted_work_is_not_found_by_its_code(server: &Server) {
    let code = accepted(&keyed(server, r#"{"add_up_to":5}"#));
    let path = format!("/work/code/{code}");
    let work = server.get(&path).json();
    let deleted = send(server.address, "DELETE", &format!("/work/{}", work["id"]), &[], None);
    assert_eq!(deleted.status, 204, "{deleted:?}");
    server.get(&path).problem(404);
    // Another demand under the key does not bring the work back.
    assert_eq!(accepted(&keyed(server, r#"{"add_up_to":5}"#)), code);
    server.get(&path).problem(404);
    assert_eq!(server.count(), 0);
}

fn an_invalid_demand_is_refused(server: &Server) {
    for (json, field) in [
        (r#"{"add_up_to":0}"#, "add_up_to"),
        (r#"{"add_up_to":null}"#, "add_up_to"),
        (r#"{"run_at":1}"#, "run_at"),
        ("[1]", "object"),
    ] {
        let detail = demand(server, &[], json).problem(422);
        assert!(detail.contains(field), "{json}: {detail}");
    }
    demand(server, &[], "{").problem(400);
    demand(server, &[("idempotency-key", "")], "{}").problem(400);
    let text = [("content-type", "text/plain")];
    send(server.address, "POST", "/work/demand", &text, Some(b"{}")).problem(415);
    let wrong = send(server.address, "GET", "/work/demand", &[], None);
    wrong.problem(405);
    assert_eq!(wrong.header("allow"), "POST");
    assert_eq!(server.count(), 0);
}
