//! `/kind/{name}/worker.py` and `.mjs`: what is filled in, and for which kinds there is a worker.

use pp_testkit::client::send;
use serde_json::json;

use super::embedded::server;
use super::server::Server;

const FILES: [(&str, &str); 2] = [("worker.py", "text/x-python"), ("worker.mjs", "text/javascript")];

fn declare(server: &Server, name: &str, delivery: &str) {
    let headers = [("content-type", "application/json")];
    let body = json!({"delivery": delivery}).to_string();
    let path = format!("/kind/{name}");
    send(server.address, "PUT", &path, &headers, Some(body.as_bytes())).with(200);
}

#[test]
fn a_worker_has_its_kind_and_the_address_that_was_asked() {
    let server = server();
    declare(&server, "image.resize", "pull");
    for (file, media_type) in FILES {
        let path = format!("/kind/image.resize/{file}");
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), format!("{media_type}; charset=utf-8"));
        assert_eq!(
            answer.header("content-disposition"),
            format!("attachment; filename=\"{file}\"")
        );
        assert!(answer.body.contains("KIND = \"image.resize\""), "{}", answer.body);
        assert!(
            answer.body.contains(&format!("\"http://{}\"", server.address)),
            "{}",
            answer.body
        );
        let named = send(server.address, "GET", &path, &[("host", "localhost:80")], None);
        assert!(named.body.contains("\"http://localhost:80\""), "{}", named.body);
        let quote = [("host", "localhost:80\"+x+\"")];
        assert_eq!(send(server.address, "GET", &path, &quote, None).status, 421);
        server.get(&format!("{path}?x=1")).problem(400);
    }
}

#[test]
fn a_kind_without_pulling_workers_has_none_and_says_what_to_do() {
    let server = server();
    declare(&server, "mail", "queue");
    for (file, _) in FILES {
        for kind in ["mail", "add_up_to"] {
            let answer = server.get(&format!("/kind/{kind}/{file}"));
            assert!(answer.problem(422).contains("\"delivery\":\"pull\""), "{answer:?}");
            assert_eq!(answer.json()["code"], "other_delivery");
        }
        server.get(&format!("/kind/nothing/{file}")).problem(404);
        server.get(&format!("/kind/No/{file}")).problem(400);
    }
}
