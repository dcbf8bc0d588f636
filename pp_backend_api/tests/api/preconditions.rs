//! `If-Match` and `If-None-Match` as RFC 9110 has them, by every method and on every route.

use super::client::{Answer, send};
use super::server::Server;

on_both! {
    a_work_is_read_only_at_the_version_that_is_asked_for
    a_work_is_changed_only_where_no_version_forbids_it
    what_has_no_versions_is_there_or_is_not
}

fn asked(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let body = (method == "PATCH").then_some(&br#"{"add_up_to":6}"#[..]);
    send(server.address, method, path, &headers, body)
}

fn a_work_is_read_only_at_the_version_that_is_asked_for(server: &Server) {
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
            // The one is looked at before the other.
            assert_eq!(status(&[("if-match", "\"1\""), ("if-none-match", "\"1\"")]), 304);
            assert_eq!(status(&[("if-match", "\"2\""), ("if-none-match", "\"1\"")]), 412);
        }
    }
    asked(server, "GET", "/work/99", &[("if-match", "\"1\"")]).problem(404);
    asked(server, "GET", "/work/99", &[("if-none-match", "*")]).problem(404);
}

fn a_work_is_changed_only_where_no_version_forbids_it(server: &Server) {
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

fn what_has_no_versions_is_there_or_is_not(server: &Server) {
    let id = server.created(5)["id"].clone();
    for path in [
        "/",
        "/work",
        "/stats",
        "/deadletter",
        "/live",
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
    // A request that creates something selects nothing that is there.
    for name in ["if-match", "if-none-match"] {
        assert_eq!(asked(server, "POST", "/work", &[(name, "\"1\"")]).status, 200);
    }
}
