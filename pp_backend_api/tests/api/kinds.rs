//! `/kind`, and works of other kinds than the sum.

use pp_testkit::client::{Answer, send};
use serde_json::{Value, json};

use super::embedded::{Embedded, server};
use crate::server::Server;

const MAIL: &str = "/kind/user.welcome.email";
const SCHEMA: &str = r#"{"type":"object","required":["to"],"properties":{"to":{"type":"string","pattern":"@"}}}"#;

fn json_request(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/json")];
    send(server.address, method, path, &headers, Some(body.as_bytes()))
}

fn declared(server: &Server, body: &str) -> Value {
    json_request(server, "PUT", MAIL, body).with(200)
}

fn with_mail() -> Embedded {
    let server = server();
    declared(
        &server,
        &format!(r#"{{"policy":{{"max_attempts":8}},"args_schema":{SCHEMA}}}"#),
    );
    server
}

#[test]
fn a_kind_is_declared_shown_and_listed() {
    let server = server();
    let kinds = server.get("/kind").with(200);
    assert_eq!(kinds.as_array().unwrap().len(), 1, "{kinds}");
    assert_eq!(kinds[0]["name"], "add_up_to");
    assert_eq!(kinds[0]["is_declared"], true);
    server.get(MAIL).problem(404);

    let kind = declared(&server, r#"{"policy":{"max_attempts":8,"retention":"forever"}}"#);
    assert_eq!(kind["policy"]["max_attempts"], 8);
    assert_eq!(kind["policy"]["retention"], "forever");
    assert_eq!(kind["policy"]["timeout"], "15m", "the default");
    assert_eq!(
        (&kind["has_worker"], &kind["worker_seen_on"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(server.get(MAIL).with(200), kind);
    assert_eq!(server.get("/kind").with(200).as_array().unwrap().len(), 2);

    let anew = declared(&server, r#"{"policy":{"max_attempts":9}}"#);
    assert_eq!(anew["policy"]["max_attempts"], 9);
    assert_eq!(anew["replaced"]["policy"]["max_attempts"], 8, "{anew}");
    assert_eq!(anew["version"], 2);
}

#[test]
fn settings_are_changed_at_a_version_and_taken_back() {
    let server = with_mail();
    let set = |body: &str| json_request(&server, "PATCH", MAIL, body);
    let answer = set(r#"{"policy":{"paused":true,"backoff":{"cap":"1m"}}}"#);
    assert_eq!(answer.header("etag"), r#""2""#);
    let kind = answer.with(200);
    assert_eq!(
        (&kind["policy"]["paused"], &kind["policy"]["backoff"]["cap"]),
        (&json!(true), &json!("1m"))
    );
    assert_eq!(kind["overrides"], json!({"paused": true, "backoff": {"cap": "1m"}}));
    declared(&server, r#"{"policy":{"max_attempts":3}}"#);
    let kind = set(r#"{"policy":{"paused":null}}"#).with(200);
    assert_eq!(
        (&kind["policy"]["paused"], &kind["policy"]["max_attempts"]),
        (&json!(false), &json!(3))
    );

    let at = |version: &str| {
        let headers = [("content-type", "application/json"), ("if-match", version)];
        send(
            server.address,
            "PATCH",
            MAIL,
            &headers,
            Some(br#"{"policy":{"places":2}}"#),
        )
    };
    at(r#""1""#).problem(412);
    assert_eq!(at(r#""4""#).with(200)["policy"]["places"], 2);

    for (body, named) in [
        (r#"{"policy":{"atempts":3}}"#, "atempts"),
        (r#"{"policy":{"atempts":null}}"#, "atempts"),
        (r#"{"policy":{"places":0}}"#, "places must be from 1 to 10000"),
        (r#"{"policy":{"timeout":"5"}}"#, "timeout must be a duration"),
        (r#"{"policy":{"dead_letter_queue":"amq.x"}}"#, "amq."),
        (r#"{"policy":{"dead_letter_queue":7}}"#, "string"),
        (r#"{"policy":{"queue":"a","dead_letter_queue":"a"}}"#, "must differ"),
        (r#"{"policy":3}"#, "object"),
        (r#"{"paused":true}"#, "paused"),
    ] {
        let detail = set(body).problem(422);
        assert!(detail.contains(named), "{body}: {detail}");
    }
    let named = set(r#"{"policy":{"dead_letter_queue":"user.deadletter"}}"#).with(200);
    assert_eq!(named["policy"]["dead_letter_queue"], "user.deadletter");
    let taken = r#"{"policy":{"queue":"user.deadletter"}}"#;
    let detail = json_request(&server, "PATCH", "/kind/add_up_to", taken).problem(422);
    assert!(
        detail.contains("the dead_letter_queue of kind user.welcome.email"),
        "{detail}"
    );
    let back = set(r#"{"policy":{"dead_letter_queue":null}}"#).with(200);
    assert_eq!(back["policy"].get("dead_letter_queue"), None, "{back}");
    json_request(&server, "PATCH", "/kind/nobody", r#"{"policy":{}}"#).problem(404);
}

#[test]
fn declarations_that_cannot_be_are_refused() {
    let server = server();
    for (body, named) in [
        (r#"{"polici":{}}"#, "polici"),
        (r#"{"policy":{"max_attempts":0}}"#, "max_attempts"),
        (r#"{"args_schema":{"type":"text"}}"#, "text"),
        (r#"{"args_schema":{"$ref":"http://127.0.0.1/x"}}"#, "127.0.0.1"),
        ("[]", "object"),
    ] {
        let detail = json_request(&server, "PUT", MAIL, body).problem(422);
        assert!(detail.contains(named), "{body}: {detail}");
    }
    json_request(&server, "PUT", "/kind/Not-a-kind", "{}").problem(400);
    json_request(&server, "PUT", "/kind/add_up_to", "{}").problem(409);
    assert_eq!(server.get("/kind/add_up_to").with(200)["version"], 1);
}

#[test]
fn a_work_of_a_declared_kind_keeps_its_arguments_byte_for_byte() {
    let server = with_mail();
    let args = r#"{"to": "a@b", "n":[1.10,1e4],"x":"😀"}"#;
    let answer = server.post(&format!(r#"{{"kind":"user.welcome.email","args":{args}}}"#));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer
            .body
            .contains(&format!(r#""kind":"user.welcome.email","args":{args},"done":false"#)),
        "{answer:?}"
    );
    let id = answer.json()["id"].clone();
    assert_eq!(server.get(&format!("/work/{id}")).body, answer.body);
    let events = server.get(&format!("/work/{id}/events")).with(200);
    assert_eq!(events[0]["value"], args);

    let patched = json_request(&server, "PATCH", &format!("/work/{id}"), r#"{"args":{"to":"c@d"}}"#).with(200);
    assert_eq!(patched["args"], json!({"to": "c@d"}));
    json_request(&server, "PATCH", &format!("/work/{id}"), r#"{"add_up_to":3}"#).problem(422);

    let bulk = r#"[{"kind":"user.welcome.email","args":{"to":"a@b"}},{"add_up_to":5}]"#;
    let works = json_request(&server, "POST", "/work/bulk", bulk).with(200);
    assert_eq!(
        (&works[0]["args"]["to"], &works[1]["add_up_to"]),
        (&json!("a@b"), &json!(5))
    );
    let body = r#"{"kind":"user.welcome.email","args":{"to":"e@f"}}"#;
    let demand = json_request(&server, "POST", "/work/demand", body).with(202);
    assert_eq!(
        (&demand["kind"], &demand["args"]["to"]),
        (&json!("user.welcome.email"), &json!("e@f"))
    );
}

#[test]
fn a_sum_may_be_written_with_kind_and_arguments() {
    let server = server();
    let work = server.post(r#"{"kind":"add_up_to","args":{"add_up_to":5}}"#).with(200);
    assert_eq!((&work["add_up_to"], &work["kind"]), (&json!(5), &json!("add_up_to")));
    let patched = json_request(
        &server,
        "PATCH",
        &format!("/work/{}", work["id"]),
        r#"{"args":{"add_up_to":7}}"#,
    );
    assert_eq!(patched.with(200)["add_up_to"], 7);
    for body in [
        r#"{"kind":"add_up_to","args":{"add_up_to":0}}"#,
        r#"{"kind":"add_up_to","args":{"add_up_to":5,"colour":1}}"#,
        r#"{"args":{"add_up_to":5},"add_up_to":5}"#,
    ] {
        server.post(body).problem(422);
    }
}

#[test]
fn faults_of_arguments_are_told_with_their_pointers() {
    let server = with_mail();
    let answer = server.post(r#"{"kind":"user.welcome.email","args":{"to":"nobody"}}"#);
    assert!(answer.problem(422).contains("user.welcome.email"));
    assert_eq!(answer.json()["errors"][0]["pointer"], "/args/to");
    let bulk = r#"[{},{"kind":"user.welcome.email","args":{}}]"#;
    let answer = json_request(&server, "POST", "/work/bulk", bulk);
    answer.problem(422);
    assert_eq!(answer.json()["errors"][0]["pointer"], "/1/args");
    for (args, pointer) in [
        (r#"{"a":{"b":"\u0000"}}"#, "/args/a/b"),
        (r#"{"a":"\ud800"}"#, "/args/a"),
        (r#"{"a":1,"a":2}"#, "/args"),
    ] {
        let detail = server
            .post(&format!(r#"{{"kind":"user.welcome.email","args":{args}}}"#))
            .problem(422);
        assert!(detail.contains(pointer), "{args}: {detail}");
    }
}

#[test]
fn an_undeclared_kind_is_refused_with_similar_ones() {
    let server = with_mail();
    let detail = server.post(r#"{"kind":"user.welcome.mail","args":{}}"#).problem(422);
    assert!(detail.contains("`user.welcome.email`"), "{detail}");
    let detail = server.post(r#"{"kind":"zzz","args":{}}"#).problem(422);
    assert!(detail.contains("GET /kind"), "{detail}");
    for (body, named) in [
        (r#"{"kind":"user.welcome.email"}"#, "args"),
        (r#"{"kind":"user.welcome.email","add_up_to":3}"#, "add_up_to"),
        (r#"{"kind":"Bad Name","args":{}}"#, "kind"),
    ] {
        let detail = server.post(body).problem(422);
        assert!(detail.contains(named), "{body}: {detail}");
    }
}
