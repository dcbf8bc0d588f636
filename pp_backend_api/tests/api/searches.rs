//! `/work/search` and `/work`: filters, pages and invalid queries.

use serde_json::Value;

use super::embedded::{Embedded, server};
use pp_testkit::client::send;

fn ids(server: &Embedded, path: &str) -> Vec<i64> {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let id = |work: &Value| work["id"].as_i64().unwrap();
    answer.json().as_array().unwrap().iter().map(id).collect()
}

#[test]
fn the_newest_come_first_by_every_path() {
    let server = server();
    for path in ["/work", "/work/", "/work/search", "/work/search/"] {
        assert_eq!(server.get(path).body, "[]", "{path}");
    }
    let works: Vec<_> = (1..=3).map(|bound| server.created(bound)).collect();
    let newest_first: Vec<_> = works.iter().rev().map(|work| work["id"].as_i64().unwrap()).collect();
    for path in [
        "/work",
        "/work/",
        "/work/search",
        "/work/search/",
        "/work/search?",
        "/work/search?work_code=",
    ] {
        assert_eq!(ids(&server, path), newest_first, "{path}");
    }
    assert_eq!(server.get("/work/search?work_code=api-").json()[0], works[2]);
}

#[test]
fn a_search_without_a_limit_lists_the_newest_thousand() {
    let server = server();
    let headers = [("content-type", "application/json")];
    for count in [1000, 1] {
        let bulk = format!("[{}]", vec!["{}"; count].join(","));
        let created = send(server.address, "POST", "/work/bulk", &headers, Some(bulk.as_bytes()));
        assert_eq!(created.status, 200);
    }
    for path in ["/work", "/work/search", "/work/search?since=0"] {
        let answer = server.get(path);
        let works = answer.json();
        let works = works.as_array().unwrap();
        assert_eq!((works.len(), &works[0]["id"]), (1000, &1001.into()));
        let next = answer.header("link").split(['<', '>']).nth(1).unwrap();
        assert_eq!(ids(&server, next), [1], "{next}");
    }
}

#[test]
fn every_filter_narrows_the_search() {
    let server = server();
    let work = server.created(4);
    let all = vec![work["id"].as_i64().unwrap()];
    let (code, on) = (
        work["work_code"].as_str().unwrap(),
        work["created_on"].as_i64().unwrap(),
    );
    for (query, found) in [
        (format!("work_code={code}"), true),
        (format!("work_code={}", &code[..6]), true),
        ("work_code=a".to_owned(), true),
        ("work_code=consumer-".to_owned(), false),
        (format!("work_code={}x", code), false),
        ("status=pending".to_owned(), true),
        ("status=failed".to_owned(), false),
        ("done=false".to_owned(), true),
        ("done=true".to_owned(), false),
        ("done=false&status=pending".to_owned(), true),
        ("done=true&status=done".to_owned(), false),
        (format!("since={on}"), true),
        (format!("since={}", on + 100), false),
        ("since=0".to_owned(), true),
        ("since=-5".to_owned(), true),
        ("since=9223372036854775807".to_owned(), false),
        ("before=9223372036854775807".to_owned(), true),
        ("before=1".to_owned(), false),
        ("before=-7".to_owned(), false),
        ("limit=1000".to_owned(), true),
    ] {
        let expected = if found { all.clone() } else { Vec::new() };
        assert_eq!(ids(&server, &format!("/work/search?{query}")), expected, "{query}");
    }
}

#[test]
fn a_prefix_is_taken_literally() {
    let server = server();
    server.created(4);
    let prefixes = [
        "%25",
        "_",
        "api-%25",
        "api-_",
        "api-%5C",
        "%27",
        "api-%27%20OR%201=1--",
        "%C3%A9",
        "api-%FF",
        "API-",
    ];
    for prefix in prefixes {
        assert_eq!(
            server.get(&format!("/work/search?work_code={prefix}")).body,
            "[]",
            "{prefix}"
        );
    }
    assert_eq!(
        server.get(&format!("/work/search?work_code={}", "a".repeat(64))).body,
        "[]"
    );
}

#[test]
fn pages_follow_the_link_to_the_end_without_gap_or_repeat() {
    let server = server();
    for bound in 1..=7 {
        server.created(bound);
    }
    for first in [
        "/work/search?limit=3&work_code=api-&done=false",
        "/work?limit=3&status=pending&since=0",
    ] {
        let (mut next, mut pages) = (first.to_owned(), Vec::new());
        while !next.is_empty() {
            let answer = server.get(&next);
            pages.push(ids(&server, &next));
            let link = answer.header("link").to_owned();
            next = link
                .strip_prefix('<')
                .and_then(|link| link.strip_suffix(r#">; rel="next""#))
                .unwrap_or("")
                .to_owned();
            assert_eq!(link.is_empty(), next.is_empty(), "{link}");
        }
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1], "{first}");
        assert_eq!(pages.concat(), [7, 6, 5, 4, 3, 2, 1], "{first}");
    }
    assert_eq!(server.get("/work/search?limit=7").header("link"), "");
}

#[test]
fn an_invalid_query_is_refused() {
    let server = server();
    let (long, longer) = ("a".repeat(65), "%25".repeat(10_000));
    for (query, says) in [
        ("colour=red", "colour"),
        ("work_code=a&work_code=b", "work_code"),
        ("limit=1&limit=1", "limit"),
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("limit=-1", "1 to 1000"),
        ("limit=", "1 to 1000"),
        ("limit=ten", "1 to 1000"),
        ("status=finished", "pending, running, done, failed, cancelled"),
        ("status=Done", "pending, running, done, failed, cancelled"),
        ("done=1", "true or false"),
        ("done=", "true or false"),
        ("since=yesterday", "since"),
        ("since=1.5", "since"),
        ("since=9223372036854775808", "since"),
        ("before=x", "before"),
        ("done=true&status=failed", "contradict"),
        ("done=false&status=done", "contradict"),
        ("work_code=api%00", "zero"),
        (&format!("work_code={long}"), "64 bytes"),
        (&format!("work_code={longer}"), "64 bytes"),
        (&format!("{}=1", "x".repeat(10_000)), "unknown field"),
    ] {
        for path in ["/work/search", "/work"] {
            let detail = server.get(&format!("{path}?{query}")).problem(400);
            assert!(detail.contains(says) && detail.len() < 300, "{query}: {detail}");
        }
    }
}
