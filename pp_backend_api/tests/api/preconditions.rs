//! `If-Match` and `If-None-Match` as in RFC 9110, for every method and route.

use super::server::Server;
use pp_testkit::client::{Answer, send};

on_both! {
    a_read_answers_only_at_the_requested_version
    a_change_applies_only_if_the_preconditions_allow_it
    a_resource_without_versions_matches_only_a_star
}

fn asked(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let body = (method == "PATCH").then_some(&br#"{"add_up_to":6}"#[..]);
    send(server.address, method, path, &headers, body)
}

fn a_read_answers_only_at_the_requested_version(server: &Server) {
    let work = server.created(5);
    let code = work["work_code"].as_str().unwrap();
    for path in [format!("/work/{}", work["id"]), format!("/work/code/{code}")] {
        for method in ["GET", "HEAD"] {
            let status = |headers: &[(&str, &str)]| asked(server, method, &path, headers).status;
            for same in ["\"1\"", "*", "\"7\", \"1\""] {
                assert_eq!(status(&[("if-match", same)]), 200, "{same}");
            }
            for other in ["\"2\"", "W/\"1\"", "\"01\""] {
                assert_eq!(status(&[("if-match", other)]), 412, "{other}");
            }
            assert_eq!(status(&[("if-match", "1")]), 400);
            // `If-Match` is checked before `If-None-Match`.
            assert_eq!(status(&[("if-match", "\"1\""), ("if-none-match", "\"1\"")]), 304);
            assert_eq!(status(&[("if-match", "\"2\""), ("if-none-match", "\"1\"")]), 412);
        }
    }
    asked(server, "GET", "/work/99", &[("if-match", "\"1\"")]).problem(404);
    asked(server, "GET", "/work/99", &[("if-none-match", "*")]).problem(404);
}

fn a_change_applies_only_if_the_preconditions_allow_it(server: &Server) {
    let work = server.created(5);
    let path = format!("/work/{}", work["id"]);
    for method in ["PATCH", "DELETE"] {
        for known in ["*", "\"1\"", "W/\"1\"", "\"7\", \"1\""] {
            asked(server, method, &path, &[("if-none-match", known)]).problem(412);
        }
        let detail = asked(server, method, &path, &[("if-none-match", "1")]).problem(400);
        assert!(detail.contains("If-None-Match"), "{detail}");
        asked(server, method, &path, &[("if-match", "\"1\""), ("if-none-match", "*")]).problem(412);
        asked(server, method, "/work/99", &[("if-none-match", "*")]).problem(404);
    }
    assert_eq!(server.work(&work), work);
    let updated = asked(server, "PATCH", &path, &[("if-none-match", "\"2\"")]);
    assert_eq!((updated.status, updated.header("etag")), (200, "\"2\""));
    let deleted = asked(
        server,
        "DELETE",
        &path,
        &[("if-match", "*"), ("if-none-match", "\"1\"")],
    );
    assert_eq!(deleted.status, 204);
}

fn a_resource_without_versions_matches_only_a_star(server: &Server) {
    let id = server.created(5)["id"].clone();
    for path in [
        "/",
        "/work",
        "/stats",
        "/deadletter",
        "/stats/seconds",
        "/work/count",
        "/deadletter/group",
        "/health/live",
        &format!("/work/{id}/events"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = |name, value| asked(server, method, path, &[(name, value)]);
            assert_eq!(answer("if-match", "\"1\"").status, 412, "{path}");
            assert_eq!(answer("if-match", "*").status, 200, "{path}");
            assert_eq!(answer("if-none-match", "\"1\"").status, 200, "{path}");
            let there = answer("if-none-match", "*");
            assert_eq!((there.status, there.body.as_str()), (304, ""), "{path}");
        }
    }
    asked(server, "GET", "/nothing", &[("if-match", "\"1\"")]).problem(404);
    // A request that creates something selects no existing representation.
    for name in ["if-match", "if-none-match"] {
        assert_eq!(asked(server, "POST", "/work", &[(name, "\"1\"")]).status, 200);
    }
}
