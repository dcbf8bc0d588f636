//! `unique`: while a work of its kind with it is unfinished, the answer is that work.

use super::keys::post;
use super::server::Server;
use pp_testkit::client::{Answer, send};
use serde_json::{Value, json};

on_both! {
    an_unfinished_work_is_the_answer_with_duplicate
    of_a_bulk_with_one_unique_one_work_is_made
    a_key_gives_the_same_answer_again
    a_work_whose_unique_is_held_does_not_begin_again
    a_demand_is_joined_to_an_unfinished_work
    an_invalid_unique_is_refused
}

fn asked(server: &Server, method: &str, path: &str, body: Value) -> Answer {
    let headers = [("content-type", "application/json")];
    send(
        server.address,
        method,
        path,
        &headers,
        Some(body.to_string().as_bytes()),
    )
}

fn an_unfinished_work_is_the_answer_with_duplicate(server: &Server) {
    let first = server.post(r#"{"add_up_to":4,"unique":"user 7"}"#);
    let work = first.with(200);
    let shown = format!(
        "{},\"unique\":\"user 7\"}}",
        first.body.trim_end_matches(",\"unique\":\"user 7\"}")
    );
    assert_eq!(first.body, shown, "it is the last field");
    assert_eq!(server.work(&work), work);
    let second = server.post(r#"{"add_up_to":5,"unique":"user 7"}"#);
    assert_eq!(
        (second.status, second.header("location")),
        (200, first.header("location"))
    );
    assert_eq!(second.header("etag"), first.header("etag"));
    assert_eq!(
        second.body,
        first.body.replace("\"user 7\"}", "\"user 7\",\"duplicate\":true}")
    );
    assert_eq!(server.count(), 1);
    server.compute(&work);
    let third = server.post(r#"{"unique":"user 7"}"#).with(200);
    assert_eq!((third["duplicate"].as_bool(), third["id"] != work["id"]), (None, true));
}

fn of_a_bulk_with_one_unique_one_work_is_made(server: &Server) {
    let held = server.post(r#"{"add_up_to":4,"unique":"held"}"#).with(200);
    let body = json!([{"unique": "a"}, {}, {"unique": "a", "add_up_to": 9}, {"unique": "held"}]);
    let works = asked(server, "POST", "/work/bulk", body).with(200);
    let ids: Vec<&Value> = works.as_array().unwrap().iter().map(|work| &work["id"]).collect();
    assert_eq!((ids[0], ids[3]), (ids[2], &held["id"]));
    let duplicates = works
        .as_array()
        .unwrap()
        .iter()
        .filter(|work| work["duplicate"] == true);
    assert_eq!(duplicates.count(), 2);
    assert!(works[1]["unique"].is_null() && works[3]["duplicate"] == true);
    assert_eq!(server.count(), 3);
}

fn a_key_gives_the_same_answer_again(server: &Server) {
    let own = post(server, "/work", "k1", r#"{"unique":"u"}"#);
    let joined = post(server, "/work", "k2", r#"{"unique":"u"}"#);
    assert_eq!(own.with(200)["id"], joined.with(200)["id"]);
    assert_eq!(
        (&own.json()["duplicate"], &joined.json()["duplicate"]),
        (&Value::Null, &json!(true))
    );
    server.compute(&own.json());
    for (key, answer) in [("k1", &own), ("k2", &joined)] {
        let again = post(server, "/work", key, r#"{"unique":"u"}"#);
        assert_eq!(
            (again.header("idempotent-replayed"), &again.body),
            ("true", &answer.body)
        );
    }
    post(server, "/work", "k1", r#"{"unique":"v"}"#).problem(422);
    assert_eq!(server.count(), 1);
}

fn a_work_whose_unique_is_held_does_not_begin_again(server: &Server) {
    let first = server.post(r#"{"add_up_to":4,"unique":"u"}"#).with(200);
    server.compute(&first);
    let second = server.post(r#"{"add_up_to":5,"unique":"u"}"#).with(200);
    let path = format!("/work/{}", first["id"]);
    let said = asked(server, "PATCH", &path, json!({"add_up_to": 6})).problem(409);
    assert!(said.contains("unique"), "{said}");
    let cancel = format!("/work/{}/cancel", second["id"]);
    assert_eq!(send(server.address, "POST", &cancel, &[], None).status, 200);
    assert_eq!(
        asked(server, "PATCH", &path, json!({"add_up_to": 6})).with(200)["status"],
        "pending"
    );
    let retry = format!("/work/{}/retry", second["id"]);
    let said = send(server.address, "POST", &retry, &[], None).problem(409);
    assert!(said.contains("unique"), "{said}");
}

/// Here demands become rows at once, so the code leads to the other work at once.
fn a_demand_is_joined_to_an_unfinished_work(server: &Server) {
    let work = server.post(r#"{"add_up_to":4,"unique":"u"}"#).with(200);
    let demanded = |key: &str, unique: &str| {
        let answer = post(
            server,
            "/work/demand",
            key,
            &format!(r#"{{"add_up_to":5,"unique":"{unique}"}}"#),
        );
        let demand = answer.with(202);
        assert_eq!((&demand["unique"], &demand["id"]), (&json!(unique), &Value::Null));
        server.get(&format!("/work/code/{}", demand["work_code"].as_str().unwrap()))
    };
    assert_eq!(demanded("k1", "u").with(200)["id"], work["id"]);
    let own = demanded("k2", "v").with(200);
    assert_eq!((&own["unique"], &own["add_up_to"]), (&json!("v"), &json!(5)));
    server.compute(&work);
    assert_eq!(
        demanded("k1", "u").with(200)["id"],
        work["id"],
        "the same demand again makes no work"
    );
    assert_eq!(server.count(), 2);
    post(server, "/work/demand", "k2", r#"{"add_up_to":5,"unique":"w"}"#).problem(422);
    assert_ne!(demanded("k3", "u").with(200)["id"], work["id"]);
}

fn an_invalid_unique_is_refused(server: &Server) {
    let long = "u".repeat(256);
    for unique in [json!(""), json!(7), json!(null), json!("a\0b"), json!(long)] {
        let body = json!({"add_up_to": 4, "unique": unique});
        asked(server, "POST", "/work", body.clone()).problem(422);
        asked(server, "POST", "/work/bulk", json!([body])).problem(422);
        asked(server, "POST", "/work/demand", body).problem(422);
    }
    assert_eq!(server.count(), 0);
}
