//! Unknown paths and methods: problem details everywhere, `Allow` if the path exists.

use super::embedded::server;
use pp_testkit::client::send;

#[test]
fn unknown_paths_are_404_by_every_method() {
    let server = server();
    for path in [
        "/nothing",
        "/work/1/",
        "/work/1/nothing",
        "/work/code/",
        "/work//",
        "/health",
        "/%00",
        "/%ff",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            send(server.address, method, path, &[], None).problem(404);
        }
    }
    let head = send(server.address, "HEAD", "/nothing", &[], None);
    assert_eq!(
        (head.status, head.header("content-type")),
        (404, "application/problem+json")
    );
}

#[test]
fn wrong_methods_are_405_with_the_right_ones() {
    let server = server();
    let id = server.created(4)["id"].clone();
    for (path, wrong, allow) in [
        ("/".to_owned(), "POST", "GET, HEAD"),
        ("/work".to_owned(), "DELETE", "GET, HEAD, POST"),
        ("/work/".to_owned(), "PUT", "GET, HEAD, POST"),
        ("/work".to_owned(), "PURGE", "GET, HEAD, POST"),
        ("/work/search".to_owned(), "POST", "GET, HEAD"),
        ("/work/search/".to_owned(), "OPTIONS", "GET, HEAD"),
        (format!("/work/{id}"), "POST", "GET, HEAD, PATCH, DELETE"),
        ("/work/bulk".to_owned(), "GET", "POST"),
        ("/work/bulk/".to_owned(), "DELETE", "POST"),
        ("/stats".to_owned(), "POST", "GET, HEAD"),
        ("/stats/".to_owned(), "DELETE", "GET, HEAD"),
        ("/deadletter".to_owned(), "POST", "GET, HEAD, DELETE"),
        ("/deadletter/".to_owned(), "PATCH", "GET, HEAD, DELETE"),
        ("/deadletter/redrive".to_owned(), "GET", "POST"),
        ("/deadletter/redrive/".to_owned(), "DELETE", "POST"),
        (format!("/work/{id}/events"), "DELETE", "GET, HEAD"),
        ("/work/code/api-0000000000".to_owned(), "PUT", "GET, HEAD"),
        ("/health/live".to_owned(), "POST", "GET, HEAD"),
        ("/health/ready".to_owned(), "DELETE", "GET, HEAD"),
    ] {
        let answer = send(server.address, wrong, &path, &[], None);
        let detail = answer.problem(405);
        assert!(detail.contains(wrong), "{detail}");
        assert_eq!(answer.header("allow"), allow, "{wrong} {path}");
    }
}
