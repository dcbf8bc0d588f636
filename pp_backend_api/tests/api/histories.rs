//! Long histories: `/work/{id}/events` in pages.

use std::time::Duration;

use pp_lib::domain::{AddUpTo, Principal, WorkId};
use pp_lib::store::Changed;
use serde_json::Value;

use super::server::Server;

on_both! {
    a_long_history_comes_in_pages
    a_page_of_a_history_starts_after_an_event
    an_invalid_page_of_a_history_is_400
}

/// A work with this many updates and one event more.
fn updated(server: &Server, times: usize) -> Value {
    let work = server.created(5);
    let id = WorkId(work["id"].as_i64().unwrap());
    server.runtime.block_on(async {
        for _ in 0..times {
            let bound = AddUpTo::try_from(6).unwrap();
            let changed = server
                .store
                .update(&Principal::Open, id, &bound.args(), None, Duration::from_secs(60))
                .await;
            assert!(matches!(changed.unwrap(), Changed::Applied(_)));
        }
    });
    work
}

fn ids(events: &Value) -> Vec<i64> {
    let id = |event: &Value| event["id"].as_i64().unwrap();
    events.as_array().unwrap().iter().map(id).collect()
}

/// The lengths of the pages, and all ids.
fn pages(server: &Server, mut path: String) -> (Vec<usize>, Vec<i64>) {
    let (mut lengths, mut all) = (Vec::new(), Vec::new());
    loop {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = ids(&answer.json());
        lengths.push(page.len());
        all.extend(page);
        match answer.header("link").split(['<', '>']).nth(1) {
            Some(next) => path = next.to_owned(),
            None => return (lengths, all),
        }
    }
}

fn a_long_history_comes_in_pages(server: &Server) {
    let work = updated(server, 1_004);
    let path = format!("/work/{}/events", work["id"]);
    let (lengths, all) = pages(server, path.clone());
    assert_eq!(lengths, [1_000, 5]);
    assert!(all.is_sorted_by(|one, next| one < next));
    let (lengths, same) = pages(server, format!("{path}?limit=600"));
    assert_eq!(lengths, [600, 405]);
    assert_eq!(same, all);
}

fn a_page_of_a_history_starts_after_an_event(server: &Server) {
    let work = updated(server, 4);
    let path = format!("/work/{}/events", work["id"]);
    let whole = server.get(&path);
    assert_eq!(whole.header("link"), "");
    let all = ids(&whole.json());
    assert_eq!(all.len(), 5);
    let part = |query: &str| ids(&server.get(&format!("{path}?{query}")).json());
    assert_eq!(part(&format!("after={}", all[1])), all[2..]);
    assert_eq!(part(&format!("after={}&limit=2", all[1])), all[2..4]);
    assert_eq!(part("after=-1"), all);
    assert!(part(&format!("after={}", all[4])).is_empty());
    let (lengths, same) = pages(server, format!("{path}?limit=2"));
    assert_eq!((lengths, same), (vec![2, 2, 1], all));
}

fn an_invalid_page_of_a_history_is_400(server: &Server) {
    let path = format!("/work/{}/events", server.created(5)["id"]);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=x",
        "after=",
        "before=1",
        "limit=1&limit=1",
    ] {
        server.get(&format!("{path}?{query}")).problem(400);
    }
    server.get("/work/77/events?limit=1").problem(404);
}
