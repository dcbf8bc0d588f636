//! Works whose arguments and results are large: pages end by bytes and link to the next one, and arguments have a limit.

use std::collections::BTreeSet;

use pp_backend_api::Config;
use pp_lib::domain::{Json, KindName, Origin, PART_BYTES, Principal, Work, parts};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::NewWork;
use serde_json::Value;

use super::server::{CONFIG, Server};

const WORKS: usize = 60;

on_both! {
    pages_of_large_works_link_to_the_next_one
}

/// Creates works of another kind with arguments of 64 KiB.
pub(crate) fn fill(server: &Server, works: usize) -> Vec<Work> {
    let new = || NewWork {
        kind: "mail".parse::<KindName>().unwrap(),
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        args: Json::accepted(format!("\"{}\"", "a".repeat(Json::USUAL_LIMIT - 2))),
        run_at: None,
        unique: None,
        notify: None,
    };
    let new: Vec<NewWork> = std::iter::repeat_with(new).take(works).collect();
    let mut created = Vec::new();
    for part in parts(&new, works, PART_BYTES, NewWork::bytes) {
        created.extend(server.runtime.block_on(server.store.create(part)).unwrap());
    }
    created.into_iter().map(|created| created.unwrap().work).collect()
}

/// The ids on all pages, and the number of pages.
fn follow(server: &Server, path: &str) -> (Vec<i64>, usize) {
    let (mut ids, mut pages, mut path) = (Vec::new(), 0, path.to_owned());
    loop {
        let page = server.get(&path);
        assert_eq!(page.status, 200, "{path}");
        assert!(page.body.len() < 1024 * 1024 + 4096, "{}", page.body.len());
        let items = page.json();
        let id = |item: &Value| item["id"].as_i64().unwrap();
        ids.extend(items.as_array().unwrap().iter().map(id));
        pages += 1;
        match page.header("link").split(['<', '>']).nth(1) {
            Some(next) => next.clone_into(&mut path),
            None => return (ids, pages),
        }
    }
}

fn pages_of_large_works_link_to_the_next_one(server: &Server) {
    let works = fill(server, WORKS);
    let newest_first: Vec<i64> = works.iter().rev().map(|work| work.id.0).collect();
    assert_eq!(follow(server, "/work/search"), (newest_first.clone(), 4));
    assert_eq!(follow(server, "/work?limit=7"), (newest_first, 9));
    let id = works[0].id;
    let args = Json::accepted(format!("\"{}\"", "u".repeat(Json::USUAL_LIMIT - 2)));
    for _ in 0..20 {
        let updated = server
            .store
            .update(&Principal::Open, id, &args, None, std::time::Duration::ZERO);
        server.runtime.block_on(updated).unwrap();
    }
    let (events, pages) = follow(server, &format!("/work/{id}/events"));
    assert_eq!((events.iter().collect::<BTreeSet<_>>().len(), pages), (21, 2));
}

#[test]
fn arguments_above_the_limit_are_422() {
    let server = super::embedded::server_with(Config {
        args_limit: 16,
        ..CONFIG
    });
    let bodies = [
        ("POST", "/work", r#"{"add_up_to":5000}"#),
        ("POST", "/work/bulk", r#"[{},{"add_up_to":5000}]"#),
        ("POST", "/work/demand", r#"{"add_up_to":5000}"#),
        ("PATCH", "/work/1", r#"{"add_up_to":5000}"#),
    ];
    assert_eq!(server.post(r#"{"add_up_to":50}"#).status, 200);
    let headers = [("content-type", "application/json")];
    for (method, path, body) in bodies {
        let answer = pp_testkit::client::send(server.address, method, path, &headers, Some(body.as_bytes()));
        let place = if path.ends_with("bulk") { "/1/args" } else { "/args" };
        assert_eq!(
            answer.problem(422),
            format!("{place}: longer than 16 bytes"),
            "{method} {path}"
        );
    }
}
