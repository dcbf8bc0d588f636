//! Searches, streams, counters and dead letters of one kind.

use pp_lib::domain::{Json, KindName, Origin, Principal};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{NewWork, Outcome};
use serde_json::{Value, json};

use super::server::Server;
use super::streams::Client;
use pp_testkit::client::{Answer, send};

on_both! {
    a_search_by_kind_keeps_the_kind_in_its_link
    a_stream_of_a_kind_has_its_changes_alone
    the_counters_of_a_kind_are_those_of_its_works
    letters_are_listed_by_kind_and_error
    letters_are_changed_by_kind_and_error
    a_dry_run_counts_letters_and_changes_nothing
    a_contradicting_choice_of_letters_is_refused
    what_is_no_name_of_a_kind_is_refused
}

fn kind(name: &str) -> KindName {
    name.parse().unwrap()
}

/// Declares a kind and creates a work of it in the store.
fn created(server: &Server, name: &str) -> Value {
    let (kind_of, nothing) = (kind(name), Json::accepted("{}"));
    server
        .runtime
        .block_on(server.store.declare(&Principal::Open, &kind_of, &nothing))
        .unwrap();
    let work = NewWork {
        kind: kind_of,
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        args: Json::accepted(match name {
            KindName::ADD_UP_TO => r#"{"add_up_to":5}"#,
            _ => r#"{"to":"a"}"#,
        }),
        run_at: None,
        unique: None,
        notify: None,
    };
    let created = server.runtime.block_on(server.store.create(&[work])).unwrap();
    serde_json::to_value(&created[0]).unwrap()
}

fn failed(server: &Server, name: &str, reason: &str) -> Value {
    let (work, reason) = (created(server, name), reason.to_owned());
    let claim = server.claim_of(&work);
    server.completed(&claim, Outcome::Failed { reason });
    server.work(&work)
}

fn ids(page: &Value) -> Vec<i64> {
    let items = page.as_array().unwrap().iter();
    items.map(|item| item["id"].as_i64().unwrap()).collect()
}

/// The ids on all pages, and the number of pages.
fn all_pages(server: &Server, first: &str) -> (Vec<i64>, usize) {
    let (mut path, mut seen, mut pages) = (first.to_owned(), Vec::new(), 0);
    while !path.is_empty() {
        let page = server.get(&path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        seen.extend(ids(&page.json()));
        let link = page.header("link");
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        pages += 1;
    }
    (seen, pages)
}

fn a_search_by_kind_keeps_the_kind_in_its_link(server: &Server) {
    let names = ["mail", "add_up_to", "mail.bulk", "mail", "add_up_to", "mail"];
    let works: Vec<Value> = names.map(|name| created(server, name)).to_vec();
    let newest_first = |name: &str| {
        let of_kind = works.iter().rev().filter(|work| work["kind"] == name);
        of_kind.map(|work| work["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    for name in ["mail", "add_up_to", "mail.bulk", "none"] {
        let expected = newest_first(name);
        for path in ["/work", "/work/search"] {
            let found = server.get(&format!("{path}?kind={name}&status=pending"));
            assert_eq!(ids(&found.json()), expected, "{path} {name}");
            let pages = all_pages(server, &format!("{path}?work_code=api-&kind={name}&limit=1"));
            assert_eq!(pages, (expected.clone(), expected.len().max(1)), "{path} {name}");
        }
    }
    assert_eq!(server.get("/work?kind=mail&status=done").body, "[]");
    assert_eq!(ids(&server.get("/work?kind=mail&limit=1").json()).len(), 1);
}

fn a_stream_of_a_kind_has_its_changes_alone(server: &Server) {
    let open = |query: &str| {
        let mut client = Client::open(server.address, &format!("/stream{query}"), None);
        client.event("start");
        client
    };
    let (mut mails, mut sums, mut all) = (open("?kind=mail"), open("?kind=add_up_to"), open(""));
    let sum = server.created(4);
    let mail = created(server, "mail");
    let other = created(server, "mail.bulk");
    let told = |client: &mut Client| client.change().1;
    for change in [told(&mut mails), told(&mut all), told(&mut all), told(&mut all)] {
        let of = [&sum, &mail, &other]
            .into_iter()
            .find(|work| work["id"] == change["work_id"]);
        let expected = match of.unwrap()["kind"].as_str().unwrap() {
            "add_up_to" => Value::Null,
            name => json!(name),
        };
        assert_eq!(change["kind"], expected, "{change}");
    }
    assert_eq!(told(&mut sums)["work_id"], sum["id"]);
    let next = created(server, "mail");
    let change = told(&mut mails);
    assert_eq!((&change["work_id"], &change["kind"]), (&next["id"], &json!("mail")));
    assert_eq!(change["value"], r#"{"to":"a"}"#);
}

fn the_counters_of_a_kind_are_those_of_its_works(server: &Server) {
    server.created(4);
    let mail = created(server, "mail");
    failed(server, "mail", "no address");
    let none = json!({"pending": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0});
    let stats = server.get("/stats?kind=mail").json();
    let api = json!({"pending": 1, "running": 0, "done": 0, "failed": 1, "cancelled": 0});
    assert_eq!(stats["works"], json!({"api": api, "consumer": none, "app": none}));
    assert_eq!((&stats["backlog"], &stats["scheduled"]), (&json!(1), &json!(0)));
    let newest = stats["newest"].as_array().unwrap();
    assert_eq!((newest.len(), &newest[1]), (2, &server.work(&mail)));
    let all = server.get("/stats").json();
    assert_eq!(
        (&all["works"]["api"]["pending"], &all["backlog"]),
        (&json!(2), &json!(2))
    );
    let fields = |stats: &Value| stats.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&stats), fields(&all));
    let unknown = server.get("/stats/?kind=unknown").json();
    assert_eq!(unknown["works"], json!({"api": none, "consumer": none, "app": none}));
    assert_eq!(unknown["newest"], json!([]));
}

fn redrive(server: &Server, query: &str) -> Answer {
    let path = format!("/deadletter/redrive?{query}");
    send(server.address, "POST", &path, &[], None)
}

fn drop_letters(server: &Server, query: &str) -> Answer {
    send(server.address, "DELETE", &format!("/deadletter?{query}"), &[], None)
}

/// Failed works, and the ids of their letters, newest first.
fn with_letters(server: &Server) -> Vec<i64> {
    for (name, reason) in [
        ("mail", "no address"),
        ("add_up_to", "no luck"),
        ("mail", "no & luck é"),
        ("mail.bulk", "no address"),
        ("mail", "no address"),
    ] {
        failed(server, name, reason);
    }
    ids(&server.get("/deadletter").json())
}

fn letters_are_listed_by_kind_and_error(server: &Server) {
    let all = with_letters(server);
    let listed = |query: &str| ids(&server.get(&format!("/deadletter?{query}")).json());
    assert_eq!(listed("kind=mail"), [all[0], all[2], all[4]]);
    assert_eq!(listed("error=no%20address"), [all[0], all[1], all[4]]);
    assert_eq!(listed("kind=mail&error=no%20a"), [all[0], all[4]]);
    assert_eq!(listed("kind=mail&error=no%20%26%20luck%20%C3%A9"), [all[2]]);
    assert_eq!(listed(&format!("kind=mail&before={}", all[0])), [all[2], all[4]]);
    assert!(listed("error=address").is_empty());
    let pages = all_pages(server, "/deadletter?limit=1&kind=mail&error=no%20");
    assert_eq!(pages, (vec![all[0], all[2], all[4]], 3));
    let pages = all_pages(server, "/deadletter?limit=2&error=no%20%26%20");
    assert_eq!(pages, (vec![all[2]], 1));
    let letters = server.get("/deadletter?kind=mail.bulk").json();
    assert_eq!(letters[0]["kind"], "mail.bulk");
}

fn letters_are_changed_by_kind_and_error(server: &Server) {
    let all = with_letters(server);
    let left = || ids(&server.get("/deadletter").json());
    let answer = redrive(server, "kind=mail&error=no%20address");
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"redriven":2}"#));
    assert_eq!(left(), all[1..4]);
    assert_eq!(ids(&server.get("/work?status=pending").json()).len(), 2);
    assert_eq!(
        redrive(server, "kind=mail&error=no%20address").body,
        r#"{"redriven":0}"#
    );
    assert_eq!(drop_letters(server, "error=no%20%26").body, r#"{"dropped":1}"#);
    assert_eq!(left(), [all[1], all[3]]);
    assert_eq!(drop_letters(server, "kind=mail.bulk").body, r#"{"dropped":1}"#);
    assert_eq!(redrive(server, "error=no").body, r#"{"redriven":1}"#);
    assert!(left().is_empty());
}

fn a_dry_run_counts_letters_and_changes_nothing(server: &Server) {
    let all = with_letters(server);
    let before = server.get("/deadletter").body;
    let some = format!("ids={},{}", all[0], all[1]);
    for (query, count) in [
        ("all=true", 5),
        ("kind=mail", 3),
        ("kind=mail&error=no%20a", 2),
        (&some, 2),
    ] {
        let query = format!("{query}&dry_run=true");
        let redriven = redrive(server, &query);
        assert_eq!(
            redriven.body,
            format!(r#"{{"redriven":{count},"dry_run":true}}"#),
            "{query}"
        );
        assert_eq!(redriven.header("content-type"), "application/json");
        let dropped = drop_letters(server, &query);
        assert_eq!(
            dropped.body,
            format!(r#"{{"dropped":{count},"dry_run":true}}"#),
            "{query}"
        );
    }
    assert_eq!(server.get("/deadletter").body, before);
    assert_eq!(server.get("/work?status=failed").json().as_array().unwrap().len(), 5);
    assert_eq!(drop_letters(server, "all=true&dry_run=false").body, r#"{"dropped":5}"#);
    assert_eq!(
        redrive(server, "all=true&dry_run=true").body,
        r#"{"redriven":0,"dry_run":true}"#
    );
}

fn a_contradicting_choice_of_letters_is_refused(server: &Server) {
    with_letters(server);
    let before = server.get("/deadletter").body;
    for (query, says) in [
        ("ids=1&kind=mail", "ids and kind contradict"),
        ("ids=1&error=no", "ids and error contradict"),
        ("all=true&kind=mail", "all and kind contradict"),
        ("all=true&error=no", "all and error contradict"),
        ("ids=1&all=true&kind=mail", "ids and all contradict"),
        ("dry_run=true", "select letters"),
        ("all=true&dry_run=1", "dry_run must be true or false"),
        ("kind=mail&error=", "at least one character"),
        ("error=", "at least one character"),
        ("error=a%00", "zero bytes"),
        ("kind=", "kind"),
        ("kind=Mail", "kind"),
        ("kind=mail&kind=mail", "kind"),
    ] {
        for answer in [redrive(server, query), drop_letters(server, query)] {
            let detail = answer.problem(400);
            assert!(detail.contains(says), "{query}: {detail}");
        }
    }
    for query in ["error=", "kind=Mail", "kind=", "error=%00", "dry_run=true"] {
        server.get(&format!("/deadletter?{query}")).problem(400);
    }
    assert_eq!(server.get("/deadletter").body, before);
}

fn what_is_no_name_of_a_kind_is_refused(server: &Server) {
    let long = "a".repeat(101);
    for path in ["/work", "/work/search", "/stream", "/stats", "/deadletter"] {
        for name in ["", "Mail", "a..b", "a%20b", "%C3%A9", &long] {
            let detail = server.get(&format!("{path}?kind={name}")).problem(400);
            assert!(
                detail.starts_with("kind must be the name of a kind"),
                "{path} {name}: {detail}"
            );
        }
        server.get(&format!("{path}?kind=a&kind=a")).problem(400);
    }
    server.get("/work/1/events?kind=mail").problem(400);
}
