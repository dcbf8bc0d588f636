//! `POST /work/bulk`: creates all works or none, in order, with errors that name the item.

use serde_json::Value;

use super::server::Server;
use pp_testkit::client::{Answer, send};

on_both! {
    works_come_in_order_with_their_events
    a_bulk_request_creates_at_most_a_thousand_works
    an_invalid_item_is_named_and_no_work_is_created
    a_body_other_than_an_array_is_refused
}

fn post(server: &Server, json: &str) -> Answer {
    let headers = [("content-type", "application/json")];
    send(server.address, "POST", "/work/bulk", &headers, Some(json.as_bytes()))
}

fn works_come_in_order_with_their_events(server: &Server) {
    let answer = post(
        server,
        r#"[{"add_up_to":7},{},{"add_up_to":5,"run_at":0},{"add_up_to":7}]"#,
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let works = answer.json();
    let works = works.as_array().unwrap();
    let bounds: Vec<_> = works.iter().map(|work| work["add_up_to"].as_i64().unwrap()).collect();
    assert_eq!((bounds[0], bounds[2], bounds[3], bounds.len()), (7, 5, 7, 4));
    assert!((1..=99).contains(&bounds[1]), "{bounds:?}");
    assert_eq!((works[0].get("run_at"), &works[2]["run_at"]), (None, &0.into()));
    for work in works {
        assert_eq!(&server.work(work), work);
        let bound = work["add_up_to"].to_string();
        assert_eq!(server.history(work), [("work/created".to_owned(), bound)]);
        assert!(work["work_code"].as_str().unwrap().starts_with("api-"));
    }
    assert_eq!(server.claimed().len(), 4);
    assert_eq!(server.count(), 4);
}

fn items(count: usize) -> String {
    format!("[{}]", vec!["{}"; count].join(","))
}

fn a_bulk_request_creates_at_most_a_thousand_works(server: &Server) {
    for (json, found) in [
        ("[]", "an empty array"),
        (" [ ] ", "an empty array"),
        (&items(1001), "too many items"),
    ] {
        let detail = post(server, json).problem(422);
        assert!(detail.contains(found) && detail.contains("1 to 1000"), "{detail}");
    }
    assert_eq!(server.count(), 0);
    let works = post(server, &items(1000)).json();
    let mut ids: Vec<_> = works
        .as_array()
        .unwrap()
        .iter()
        .map(|work| work["id"].as_i64())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), server.count()), (1000, 1000));
}

fn an_invalid_item_is_named_and_no_work_is_created(server: &Server) {
    for (wrong, says) in [
        (r#"{"add_up_to":0}"#, "add_up_to as a whole number from 1 to 2147483647"),
        (r#"{"add_up_to":null}"#, "add_up_to as a whole number"),
        (r#"{"run_at":-1}"#, "run_at as Unix seconds"),
        (r#"{"x":1}"#, "unknown field `x`"),
        (r#"{"add_up_to":5,"add_up_to":5}"#, "duplicate field `add_up_to`"),
        ("[5]", "expected an object"),
        ("5", "expected an object"),
        ("null", "expected an object"),
    ] {
        let detail = post(server, &format!("[{{}},{{}},{wrong},{{}}]")).problem(422);
        assert!(
            detail.starts_with("item 2: ") && detail.contains(says),
            "{wrong}: {detail}"
        );
    }
    assert_eq!(server.count(), 0);
}

fn a_body_other_than_an_array_is_refused(server: &Server) {
    for json in ["{}", "5", "null", r#"{"add_up_to":5}"#, ""] {
        let detail = post(server, json).problem(422);
        assert!(detail.contains("an array of 1 to 1000 objects"), "{json}: {detail}");
    }
    for json in ["[", "[{}", "[{},]", "[{}] x", "{{}}"] {
        post(server, json).problem(400);
    }
    let text = [("content-type", "text/plain")];
    send(server.address, "POST", "/work/bulk", &text, Some(b"[{}]")).problem(415);
    let large = format!("[{}{{}}]", " ".repeat(70_000));
    post(server, &large).problem(413);
    assert_eq!(server.get("/work").json(), Value::Array(Vec::new()));
}
