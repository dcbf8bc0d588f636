//! Users whom a proxy has signed in: who is believed, what users may do, and what the audit says of them.

use std::num::NonZeroU32;
use std::sync::Arc;

use pp_backend_api::{Asking, Config, TrustedProxies};
use pp_lib::access::ApiKey;
use pp_testkit::client::{Answer, send};
use serde_json::json;

use super::access::{bearer, key};
use super::embedded::{Embedded, server_with};
use super::server::{CONFIG, Server};

const USER: &str = "x-forwarded-user";

/// A server that believes peers of this network.
fn behind(network: &str, scopes: &str) -> Embedded {
    server_with(config(network, scopes))
}

fn config(network: &str, scopes: &str) -> Config {
    let proxies = TrustedProxies {
        networks: vec![network.parse().unwrap()],
        header: USER.parse().unwrap(),
        scopes: Arc::new(scopes.parse().unwrap()),
    };
    Config {
        asking: Asking::Always,
        proxies: Some(proxies),
        ..CONFIG
    }
}

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(server.address, method, path, headers, None)
}

#[test]
fn a_user_of_a_trusted_proxy_may_do_what_the_scopes_say() {
    let server = behind("127.0.0.0/8", "read,create:add_up_to");
    let origin = format!("http://{}", server.address);
    let alice = (USER, "alice@example.com");
    assert_eq!(ask(&server, "GET", "/stats", &[alice]).status, 200);
    assert_eq!(ask(&server, "POST", "/work", &[alice, ("origin", &origin)]).status, 200);
    let refused = ask(&server, "POST", "/work/1/cancel", &[alice, ("origin", &origin)]);
    assert_eq!(refused.problem(403), "users of the proxy lack the scope operate");
    assert_eq!(refused.json()["code"], "missing_scope");
    let body = json!({"kind": "user.mail", "args": {}}).to_string();
    let headers = [alice, ("origin", &origin), ("content-type", "application/json")];
    let other = send(server.address, "POST", "/work", &headers, Some(body.as_bytes()));
    assert!(other.problem(403).ends_with("create:user.mail"), "{other:?}");
    // A page that makes the browser of a signed-in user send something names its origin, or none.
    assert!(ask(&server, "POST", "/work", &[alice]).problem(403).contains("Origin"));
    let evil = ("origin", "http://evil.example");
    ask(&server, "POST", "/work", &[alice, evil]).problem(403);
    // Without a user it needs a key.
    ask(&server, "GET", "/stats", &[]).problem(401);
}

#[test]
fn the_header_of_any_other_peer_is_worth_nothing() {
    let server = behind("10.0.0.0/8", "admin");
    for headers in [
        &[(USER, "alice")][..],
        &[(USER, "alice"), ("x-forwarded-for", "10.0.0.1")],
        &[
            (USER, "alice"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
        ],
        &[(USER, "alice"), (USER, "bob")],
    ] {
        for path in ["/stats", "/work/1", "/audit", "/key"] {
            ask(&server, "GET", path, headers).problem(401);
        }
    }
    let reader = key(&server, "reader", "read");
    let both = [(USER, "alice"), ("authorization", &bearer(&reader))];
    assert_eq!(ask(&server, "GET", "/stats", &both).status, 200);
    ask(&server, "GET", "/audit", &both).problem(403);
}

#[test]
fn a_proxy_names_one_user_and_a_key_counts_before_it() {
    let server = behind("127.0.0.1", "read");
    for wrong in [
        &[(USER, "alice"), (USER, "bob")][..],
        &[(USER, "")],
        &[(USER, &"n".repeat(201))],
    ] {
        ask(&server, "GET", "/stats", wrong).problem(400);
    }
    // What the proxy itself asks for may stand in `Authorization`.
    for own in ["Basic YWxpY2U6aHVudGVyMg==", "Bearer eyJhbGciOiJub25lIn0.e30."] {
        let headers = [(USER, "alice"), ("authorization", own)];
        assert_eq!(ask(&server, "GET", "/stats", &headers).status, 200, "{own}");
        ask(&server, "GET", "/stats", &headers[1..]).problem(401);
    }
    let revoked = bearer(ApiKey::random().secret());
    let headers = [(USER, "alice"), ("authorization", &revoked)];
    assert_eq!(ask(&server, "GET", "/stats", &headers).status, 200);
    let operator = bearer(&key(&server, "operator", "operate"));
    let headers = [(USER, "alice"), ("authorization", &operator)];
    assert_eq!(
        ask(&server, "GET", "/stats", &headers).problem(403),
        "this API key lacks the scope read"
    );
}

#[test]
fn the_audit_and_idempotency_keys_tell_users_apart() {
    let server = behind("127.0.0.1", "admin");
    let origin = format!("http://{}", server.address);
    let by = |user: &str, method: &str, path: &str, more: &[(&str, &str)]| {
        let headers = [&[(USER, user), ("origin", &origin)], more].concat();
        ask(&server, method, path, &headers)
    };
    let once = [("idempotency-key", "once")];
    let first = by("alice", "POST", "/work", &once).with(200)["id"].clone();
    assert_eq!(by("alice", "POST", "/work", &once).with(200)["id"], first);
    assert_ne!(by("bob", "POST", "/work", &once).with(200)["id"], first);
    let cancel = format!("/work/{first}/cancel");
    by("Zoë", "POST", &cancel, &[]).with(200);
    let audit = by("alice", "GET", "/audit?principal=proxy:Zo%C3%AB", &[]).with(200);
    assert_eq!(
        (&audit[0]["principal"], &audit[0]["action"], &audit[0]["subject"]),
        (
            &json!("proxy:Zoë"),
            &json!("work.cancel"),
            &json!(format!("work/{first}"))
        )
    );
    assert_eq!(audit.as_array().unwrap().len(), 1, "{audit}");
}

#[test]
fn each_user_has_a_rate_of_its_own() {
    let config = Config {
        rate: NonZeroU32::new(3),
        ..config("127.0.0.1", "read")
    };
    let server = server_with(config);
    let statuses = |user: &str| -> Vec<u16> {
        let asked = (0..5).map(|_| ask(&server, "GET", "/work/1", &[(USER, user)]).status);
        asked.collect()
    };
    assert!(statuses("alice").contains(&429));
    assert_eq!(ask(&server, "GET", "/work/1", &[(USER, "bob")]).status, 404);
}

#[test]
fn where_nothing_is_asked_for_a_user_is_only_named() {
    let config = Config {
        asking: Asking::Never,
        ..config("127.0.0.1", "read")
    };
    let server = server_with(config);
    let origin = format!("http://{}", server.address);
    let alice = [(USER, "alice"), ("origin", origin.as_str())];
    let id = ask(&server, "POST", "/work", &alice).with(200)["id"].clone();
    ask(&server, "POST", &format!("/work/{id}/cancel"), &alice).with(200);
    let audit = ask(&server, "GET", "/audit", &[]).with(200);
    assert_eq!(audit[0]["principal"], "proxy:alice");
}
