//! Requests of web pages and proxies: served hosts, allowed origins and cache control.

use pp_backend_api::Config;

use super::embedded::{server, server_with};
use super::server::CONFIG;
use pp_testkit::client::send;

/// Every request that changes something.
const CHANGES: [(&str, &str); 7] = [
    ("POST", "/work"),
    ("POST", "/work/bulk"),
    ("POST", "/work/demand"),
    ("PATCH", "/work/1"),
    ("DELETE", "/work/1"),
    ("POST", "/deadletter/redrive?all=true"),
    ("DELETE", "/deadletter?all=true"),
];

#[test]
fn a_page_of_another_origin_changes_nothing() {
    let server = server();
    server.failed("no luck");
    for (method, path) in CHANGES {
        for header in [
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:1"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let headers = [header, ("content-type", "application/json")];
            let answer = send(server.address, method, path, &headers, Some(b"{}"));
            let detail = answer.problem(403);
            assert!(detail.contains("PP_API_HOSTS"), "{detail}");
        }
    }
    assert_eq!(server.count(), 1);
    assert_eq!(server.get("/deadletter").json().as_array().unwrap().len(), 1);
    // A foreign page may send reads whose answers it cannot see. The API's own pages may change something.
    let evil = [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")];
    let read = send(server.address, "GET", "/work/1", &evil, None);
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, ""));
    let origin = format!("http://{}", server.address);
    let own = [("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(send(server.address, "POST", "/work", &own, None).status, 200);
}

#[test]
fn a_foreign_name_that_resolves_to_this_service_is_421() {
    let server = server();
    server.failed("no luck");
    let reads = [
        "/",
        "/work",
        "/work/1",
        "/deadletter",
        "/stats",
        "/health/ready",
        "/nothing",
    ];
    let reads = reads.map(|path| ("GET", path));
    for (method, path) in reads.into_iter().chain(CHANGES) {
        let headers = [("host", "evil.example"), ("content-type", "application/json")];
        let detail = send(server.address, method, path, &headers, Some(b"{}")).problem(421);
        assert!(detail.contains("PP_API_HOSTS"), "{detail}");
    }
    assert_eq!(server.get("/deadletter").json().as_array().unwrap().len(), 1);
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.1:3000", "[::1]:3000"] {
        assert_eq!(
            send(server.address, "GET", "/work", &[("host", host)], None).status,
            200,
            "{host}"
        );
    }
}

#[test]
fn the_names_in_pp_api_hosts_are_answered() {
    let hosts = ["pp.example.com", "api:3000"]
        .map(|host| host.parse().unwrap())
        .to_vec();
    let server = server_with(Config { hosts, ..CONFIG });
    for (host, status) in [
        ("pp.example.com", 200),
        ("PP.example.com:443", 200),
        ("api:3000", 200),
        ("api:3001", 421),
        ("example.com", 421),
    ] {
        let answer = send(server.address, "POST", "/work", &[("host", host)], None);
        assert_eq!(answer.status, status, "{host}");
    }
    let proxied = [("host", "localhost"), ("origin", "https://pp.example.com")];
    assert_eq!(send(server.address, "POST", "/work", &proxied, None).status, 200);
}

#[test]
fn answers_are_not_stored_and_works_are_revalidated() {
    let server = server();
    let work = server.failed("no luck");
    let (id, code) = (work["id"].clone(), work["work_code"].as_str().unwrap());
    for path in [format!("/work/{id}"), format!("/work/code/{code}")] {
        for headers in [&[][..], &[("if-none-match", "*")]] {
            let answer = send(server.address, "GET", &path, headers, None);
            assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
        }
        let head = send(server.address, "HEAD", &path, &[], None);
        assert_eq!(head.header("cache-control"), "no-cache", "{path}");
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/work"),
        ("GET", "/work?since=x"),
        ("GET", "/work/x"),
        ("GET", "/work/99"),
        ("GET", "/work/1/events"),
        ("HEAD", "/work/1/stream"),
        ("HEAD", "/stream"),
        ("GET", "/stats"),
        ("HEAD", "/stats/stream"),
        ("GET", "/deadletter"),
        ("GET", "/live"),
        ("GET", "/ui/nothing.js"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/nothing"),
        ("PUT", "/work"),
        ("POST", "/work"),
        ("POST", "/work/bulk"),
        ("POST", "/work/demand"),
        ("PATCH", "/work/1"),
        ("DELETE", "/deadletter?ids=99"),
        ("DELETE", "/work/1"),
    ] {
        let answer = send(server.address, method, path, &[], None);
        assert_eq!(
            answer.header("cache-control"),
            "no-store",
            "{method} {path}: {answer:?}"
        );
    }
    let elsewhere = send(server.address, "GET", "/work/2", &[("host", "evil.example")], None);
    assert_eq!(elsewhere.header("cache-control"), "no-store");
}

#[test]
fn an_unknown_parameter_is_refused_by_every_route() {
    let server = server();
    let work = server.created(5);
    let code = format!("/work/code/{}", work["work_code"].as_str().unwrap());
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/work"),
        ("GET", "/work/search"),
        ("GET", "/work/1"),
        ("HEAD", "/work/1"),
        ("GET", &code),
        ("GET", "/work/1/events"),
        ("GET", "/work/1/stream"),
        ("GET", "/stream"),
        ("GET", "/stats"),
        ("GET", "/stats/stream"),
        ("GET", "/deadletter"),
        ("GET", "/live"),
        ("GET", "/ui/style.css"),
        ("GET", "/work/count"),
        ("GET", "/deadletter/group"),
        ("GET", "/stats/seconds"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("POST", "/work"),
        ("POST", "/work/bulk"),
        ("POST", "/work/demand"),
        ("PATCH", "/work/1"),
        ("DELETE", "/work/1"),
        ("POST", "/deadletter/redrive"),
        ("DELETE", "/deadletter"),
    ] {
        let body = match path {
            _ if method == "PATCH" => Some(&br#"{"add_up_to":6}"#[..]),
            "/work/bulk" => Some(&b"[{}]"[..]),
            _ => None,
        };
        let headers = [("content-type", "application/json")];
        let refused = send(server.address, method, &format!("{path}?statsu=done"), &headers, body);
        assert_eq!(refused.status, 400, "{method} {path}: {refused:?}");
        if method != "HEAD" {
            let detail = refused.problem(400);
            assert!(detail.contains("statsu"), "{detail}");
        }
    }
    assert_eq!(server.work(&work), work);
    assert_eq!(server.count(), 1);
    assert_eq!(server.get("/work/1?").status, 200, "an empty query is none");
}
