//! `/openapi.json` and `/docs` as they are served.

use pp_backend_api::Config;
use pp_testkit::client::{Answer, send};
use serde_json::{Value, json};

use super::access::{bearer, key};
use super::embedded::{server, server_with};
use super::server::{CONFIG, Server};

fn declare(server: &Server, kind: &str, declaration: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    let body = declaration.to_string();
    send(
        server.address,
        "PUT",
        &format!("/kind/{kind}"),
        &headers,
        Some(body.as_bytes()),
    )
}

#[test]
fn a_declared_kind_is_in_the_document_at_once() {
    let server = server();
    let before = server.get("/openapi.json").json();
    assert_eq!(before["openapi"], "3.1.0");
    assert_eq!(before["x-kinds"], Value::Null);
    let schema = json!({ "type": "object", "properties": { "to": { "type": "string" } } });
    declare(&server, "user.mail", &json!({ "args_schema": schema })).with(200);
    declare(&server, "other", &json!({})).with(200);
    let document = server.get("/openapi.json").json();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["kind.user.mail.args"], schema);
    for body in ["NewWork", "NewDemand"] {
        let ways: Vec<&str> = schemas[body]["anyOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|way| way["$ref"].as_str().unwrap().rsplit('/').next().unwrap())
            .collect();
        let expected = ["sum", "sum_by_args", "user.mail", "of_kind"].map(|way| format!("{body}.{way}"));
        assert_eq!(ways, expected);
    }
    assert_eq!(schemas["NewWork.user.mail"]["required"], json!(["kind", "args"]));
    assert_eq!(document["x-kinds"]["other"], json!({}));
}

#[test]
fn schemas_beyond_the_bound_are_left_out() {
    let server = server_with(Config {
        body_limit: 256 << 10,
        ..CONFIG
    });
    let schema = json!({ "description": "x".repeat(60_000) });
    for number in 0..6 {
        declare(&server, &format!("k{number}"), &json!({ "args_schema": schema })).with(200);
    }
    let answer = server.get("/openapi.json");
    assert!(answer.body.len() < 600_000, "{}", answer.body.len());
    let schemas = &answer.json()["components"]["schemas"];
    assert!(schemas.get("kind.k3.args").is_some() && schemas.get("kind.k4.args").is_none());
    assert_eq!(
        schemas["NewWork.of_kind"]["properties"]["kind"]["enum"],
        json!(["k4", "k5"])
    );
}

#[test]
fn the_document_needs_the_scope_read_and_says_if_keys_are_asked_for() {
    let server = server_with(Config {
        prefix: "/pp".parse().unwrap(),
        ..CONFIG
    });
    let open = server.get("/openapi.json").json();
    assert_eq!(open["servers"], json!([{ "url": "/pp" }]));
    let security = |document: &Value| document["paths"]["/work"]["post"]["security"].clone();
    let asked = json!([{ "key": ["create"] }, { "cookie": ["create"] }]);
    assert_eq!(security(&open), json!([{}, asked[0], asked[1]]));
    let reader = key(&server, "reader", "read");
    let authorization = bearer(&reader);
    let read = || {
        let headers = [("authorization", authorization.as_str())];
        send(server.address, "GET", "/openapi.json", &headers, None)
    };
    super::faults::until("keys are asked for", || security(&read().json()) == asked);
    server.get("/openapi.json").problem(401);
    assert_eq!(server.get("/docs").status, 200, "the page itself is open");
}

#[test]
fn the_reference_loads_nothing_from_other_hosts() {
    let server = server();
    let page = server.get("/docs");
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let parts = page
        .body
        .split("src=\"")
        .skip(1)
        .chain(page.body.split("href=\"").skip(1));
    let urls: Vec<&str> = parts.map(|part| part.split('"').next().unwrap()).collect();
    assert!(urls.len() >= 4 && urls.contains(&"openapi.json"), "{urls:?}");
    for url in urls {
        assert!(!url.contains("//"), "{url} is elsewhere");
        assert_eq!(server.get(&format!("/{url}")).status, 200, "{url}");
    }
    for inline in ["style=", "<style", "onclick", "<script>"] {
        assert!(!page.body.contains(inline), "{inline} is against the page's own policy");
    }
    let script = server.get("/docs.js").body;
    for risky in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "document.write",
    ] {
        assert!(!script.contains(risky), "{risky} would take a text for markup");
    }
}
