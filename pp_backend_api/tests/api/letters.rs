//! `/deadletter`: listed in pages, run again and dropped.

use pp_lib::domain::{KindName, MessageId};
use pp_lib::store::DeadMessage;
use serde_json::Value;

use super::server::Server;
use pp_testkit::client::{Answer, send};

on_both! {
    a_letter_names_its_work
    a_letter_quotes_its_message
    pages_follow_the_link_to_the_end
    a_redriven_work_is_pending_again
    letters_are_redriven_by_number_or_all
    letters_are_dropped_by_number_or_all
    an_invalid_selection_is_refused
}

fn letters(server: &Server) -> Vec<Value> {
    let answer = server.get("/deadletter");
    assert_eq!((answer.status, answer.header("link")), (200, ""), "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

fn ids(letters: &[Value]) -> Vec<i64> {
    letters.iter().map(|letter| letter["id"].as_i64().unwrap()).collect()
}

fn redrive(server: &Server, query: &str) -> Answer {
    send(
        server.address,
        "POST",
        &format!("/deadletter/redrive{query}"),
        &[],
        None,
    )
}

fn drop_letters(server: &Server, query: &str) -> Answer {
    send(server.address, "DELETE", &format!("/deadletter{query}"), &[], None)
}

fn a_letter_names_its_work(server: &Server) {
    assert_eq!(server.get("/deadletter/").body, "[]");
    let work = server.failed("no luck");
    let letter = letters(server).remove(0);
    let told = ["work_id", "work_code", "reason", "attempts", "redriven", "body"].map(|field| &letter[field]);
    let (one, no, nothing) = (1.into(), false.into(), Value::Null);
    let expected = [&work["id"], &work["work_code"], &"no luck".into(), &one, &no, &nothing];
    assert_eq!(told, expected);
    assert!(letter["created_on"].as_i64() >= letter["demanded_on"].as_i64());
}

fn a_letter_quotes_its_message(server: &Server) {
    let message = DeadMessage {
        kind: KindName::default(),
        message_id: MessageId::try_from("m1".to_owned()).unwrap(),
        properties: None,
        body: "not {JSON".into(),
        reason: "malformed".to_owned(),
    };
    server
        .runtime
        .block_on(server.store.add_dead_letters(&[message]))
        .unwrap();
    let letter = letters(server).remove(0);
    let told = ["work_id", "message_id", "body", "body_bytes", "reason"].map(|field| &letter[field]);
    let (nothing, bytes) = (Value::Null, 9.into());
    assert_eq!(
        told,
        [&nothing, &"m1".into(), &"not {JSON".into(), &bytes, &"malformed".into()]
    );
    assert_eq!(redrive(server, "?all=true").body, r#"{"redriven":1}"#);
    assert_eq!(letters(server)[0]["redriven"], true);
}

fn pages_follow_the_link_to_the_end(server: &Server) {
    for _ in 0..5 {
        server.failed("no luck");
    }
    let all = ids(&letters(server));
    assert!(all.len() == 5 && all.is_sorted_by(|one, next| one > next), "{all:?}");
    let (mut path, mut seen, mut pages) = ("/deadletter?limit=2".to_owned(), Vec::new(), 0);
    while !path.is_empty() {
        let page = server.get(&path);
        seen.extend(ids(page.json().as_array().unwrap()));
        let link = page.header("link");
        assert!(link.is_empty() || link.ends_with("; rel=\"next\""), "{link}");
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        pages += 1;
    }
    assert_eq!((seen, pages), (all.clone(), 3));
    let rest = server.get(&format!("/deadletter?before={}", all[3])).json();
    assert_eq!(ids(rest.as_array().unwrap()), all[4..]);
    assert_eq!(server.get("/deadletter?before=-5").body, "[]");
}

fn a_redriven_work_is_pending_again(server: &Server) {
    let work = server.failed("no luck");
    let answer = redrive(server, "?all=true");
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"redriven":1}"#));
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(letters(server).is_empty());
    let again = server.work(&work);
    assert_eq!(again["status"], "pending");
    assert!(again["version"].as_i64() > work["version"].as_i64());
    assert_eq!(server.history(&work).pop().unwrap().0, "work/redriven");
    let claim = server.claim_of(&work);
    assert_eq!((claim.run.generation, claim.run.attempt, claim.failures), (2, 1, 0));
    let reason = "again".to_owned();
    server.completed(&claim, pp_lib::store::Outcome::Failed { reason });
    assert_eq!(letters(server)[0]["reason"], "again");
}

fn letters_are_redriven_by_number_or_all(server: &Server) {
    let works: Vec<_> = (0..4).map(|_| server.failed("no luck")).collect();
    let letters_of = ids(&letters(server));
    let query = format!("?ids={},{0},{},999999", letters_of[3], letters_of[1]);
    assert_eq!(redrive(server, &query).body, r#"{"redriven":2}"#);
    let status: Vec<_> = works.iter().map(|work| server.work(work)["status"].clone()).collect();
    assert_eq!(status, ["pending", "failed", "pending", "failed"]);
    assert_eq!(redrive(server, &query).body, r#"{"redriven":0}"#);
    assert_eq!(redrive(server, "/?all=true").body, r#"{"redriven":2}"#);
    assert!(letters(server).is_empty());
}

fn letters_are_dropped_by_number_or_all(server: &Server) {
    let works: Vec<_> = (0..3).map(|_| server.failed("no luck")).collect();
    let all = ids(&letters(server));
    let answer = drop_letters(server, &format!("?ids={}", all[1]));
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"dropped":1}"#));
    assert_eq!(ids(&letters(server)), [all[0], all[2]]);
    assert_eq!(drop_letters(server, "/?all=true").body, r#"{"dropped":2}"#);
    assert_eq!(drop_letters(server, "?all=true").body, r#"{"dropped":0}"#);
    for work in works {
        assert_eq!(server.work(&work), work);
    }
}

fn an_invalid_selection_is_refused(server: &Server) {
    server.failed("no luck");
    let many = format!("?ids={}", vec!["1"; 1001].join(","));
    for query in [
        "",
        "?",
        "?ids=",
        "?ids=1,",
        "?ids=1,,2",
        "?ids=0",
        "?ids=-1",
        "?ids=x",
        "?ids=9223372036854775808",
        "?all=false",
        "?all=",
        "?all=TRUE",
        "?ids=1&all=true",
        "?ids=1&ids=2",
        "?all=true&all=true",
        "?all=true&x=1",
        &many,
    ] {
        redrive(server, query).problem(400);
        drop_letters(server, query).problem(400);
    }
    for query in ["limit=0", "limit=1001", "limit=x", "before=x", "x=1", "limit=1&limit=2"] {
        server.get(&format!("/deadletter?{query}")).problem(400);
    }
    let json = [("content-type", "application/json")];
    let redrive_path = "/deadletter/redrive?all=true";
    let detail = send(server.address, "POST", redrive_path, &json, Some(br#"{"ids":[1]}"#)).problem(422);
    assert!(detail.contains("unknown field `ids`"), "{detail}");
    send(server.address, "POST", redrive_path, &[], Some(b"x")).problem(415);
    assert_eq!(letters(server).len(), 1);
    let thousand = format!("?ids={}", vec!["1"; 1000].join(","));
    assert_eq!(redrive(server, &thousand).status, 200);
}
