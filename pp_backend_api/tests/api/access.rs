//! API keys over HTTP: what each route needs, revocation, sign-in, and the audit.

use std::time::{Duration, Instant};

use pp_backend_api::needed_scopes;
use pp_lib::access::ApiKey;
use pp_lib::domain::{Principal, Scope};
use pp_lib::store::{KeyCreated, NewKey};
use pp_testkit::client::{Answer, send};
use serde_json::{Value, json};

use super::embedded::server;
use super::server::Server;

/// Makes a valid key behind the API.
pub(crate) fn key(server: &Server, name: &str, scopes: &str) -> String {
    let key = ApiKey::random();
    let new = NewKey {
        name: name.parse().unwrap(),
        scopes: scopes.parse().unwrap(),
        works_per_day: None,
        digest: key.digest(),
    };
    let created = server.runtime.block_on(server.store.create_key(&Principal::Open, &new));
    assert!(matches!(created.unwrap(), KeyCreated::Created(_)));
    key.secret().to_owned()
}

/// The value of the header `Authorization`.
pub(crate) fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn with(server: &Server, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let authorization = bearer(key);
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let body = body.map(|body| body.to_string());
    send(
        server.address,
        method,
        path,
        &headers,
        body.as_ref().map(String::as_bytes),
    )
}

/// Waits until the API asks for keys.
fn asks(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(2);
    while server.get("/stats").status != 401 {
        assert!(Instant::now() < deadline, "no key is asked for");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_route_asks_for_its_scope() {
    let server = server();
    let all = ["read", "create", "work", "operate", "admin"];
    let keys = all.map(|scope| (scope, key(&server, scope, scope)));
    asks(&server);
    let mut guarded = 0;
    for (path, method, needed) in needed_scopes() {
        let path = path
            .replace("{id}", "999")
            .replace("{code}", "x")
            .replace("{name}", "nothing");
        let Some(needed) = needed else {
            assert_ne!(
                send(server.address, method, &path, &[], None).status,
                403,
                "{method} {path}"
            );
            continue;
        };
        guarded += 1;
        for spelling in [path.clone(), path.replace("/w", "/%77").replace("/k", "/%6B")] {
            let without = send(server.address, method, &spelling, &[], None);
            assert!([401, 404].contains(&without.status), "{method} {spelling}: {without:?}");
        }
        let without = send(server.address, method, &path, &[], None);
        assert_eq!(without.header("www-authenticate"), "Bearer");
        assert!(without.problem(401).contains("Authorization"), "{method} {path}");
        assert_eq!(
            with(&server, ApiKey::random().secret(), method, &path, None).status,
            401
        );
        // An endless stream is asked for its head alone.
        let method = if path.ends_with("stream") { "HEAD" } else { method };
        for (scope, key) in &keys {
            let answer = with(&server, key, method, &path, None);
            if needed.to_string() == *scope || *scope == "admin" {
                assert!(
                    ![401, 403].contains(&answer.status),
                    "{method} {path} with {scope}: {answer:?}"
                );
            } else if method == "HEAD" {
                assert_eq!(answer.status, 403, "{method} {path} with {scope}");
            } else {
                let detail = answer.problem(403);
                assert!(
                    detail.ends_with(&format!("scope {needed}")),
                    "{method} {path} with {scope}: {detail}"
                );
            }
        }
    }
    assert!(guarded > 20, "{guarded}");
    for open in ["/", "/ui/js/app.js", "/health/live", "/health/ready"] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    assert_eq!(server.get("/live").status, 308);
}

#[test]
fn a_key_for_a_kind_creates_works_of_that_kind_only() {
    let server = server();
    let sums = key(&server, "sums", "create:add_up_to");
    let mail = key(&server, "mail", "create:user.mail");
    assert_eq!(with(&server, &sums, "POST", "/work", Some(json!({}))).status, 200);
    assert_eq!(
        with(&server, &sums, "POST", "/work/bulk", Some(json!([{}, {}]))).status,
        200
    );
    for (path, body) in [
        ("/work", json!({})),
        ("/work/bulk", json!([{"kind": "user.mail", "args": {}}, {}])),
        ("/work/demand", json!({})),
    ] {
        let detail = with(&server, &mail, "POST", path, Some(body)).problem(403);
        assert!(detail.contains("create:add_up_to"), "{path}: {detail}");
    }
    // The kind is allowed, and unknown.
    let body = json!({"kind": "user.mail", "args": {}});
    assert_eq!(with(&server, &mail, "POST", "/work", Some(body)).status, 422);
}

#[test]
fn keys_are_made_listed_and_revoked_over_http() {
    let server = server();
    let admin = key(&server, "admin", "admin");
    let made = with(
        &server,
        &admin,
        "POST",
        "/key",
        Some(json!({"name": "deploy", "scopes": "read,operate"})),
    );
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.with(200);
    let secret = made["key"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["name"], &made["scopes"]),
        (&json!("deploy"), &json!("read,operate"))
    );
    for (wrong, status) in [
        (json!({"name": "deploy", "scopes": "read"}), 409),
        (json!({"name": "", "scopes": "read"}), 422),
        (json!({"name": "x", "scopes": "all"}), 422),
        (json!({"name": "x"}), 422),
    ] {
        with(&server, &admin, "POST", "/key", Some(wrong)).problem(status);
    }
    let list = with(&server, &admin, "GET", "/key", None);
    assert!(!list.body.contains("pp_"), "{list:?}");
    assert_eq!(list.json().as_array().unwrap().len(), 2);
    assert_eq!(with(&server, &secret, "GET", "/stats", None).status, 200);

    let path = format!("/key/{}", made["id"]);
    assert_eq!(with(&server, &admin, "DELETE", &path, None).status, 204);
    with(&server, &secret, "GET", "/stats", None).problem(401);
    assert_eq!(with(&server, &admin, "DELETE", &path, None).status, 204);
    with(&server, &admin, "DELETE", "/key/999", None).problem(404);
    let audit = with(&server, &admin, "GET", "/audit?action=key.revoke", None).json();
    assert_eq!(audit.as_array().unwrap().len(), 1, "{audit}");
    assert_eq!(audit[0]["principal"], "key:1 admin");
    assert_eq!(audit[0]["details"], json!({"name": "deploy", "scopes": "read,operate"}));
}

#[test]
fn a_key_creates_as_many_works_in_a_day_as_it_may() {
    let server = server();
    let admin = key(&server, "admin", "admin");
    let make = |bound: Value| json!({"name": "bounded", "scopes": "create", "works_per_day": bound});
    for wrong in [json!(0), json!(-1), json!(1_000_000_001), json!(1.5), json!("10")] {
        with(&server, &admin, "POST", "/key", Some(make(wrong))).problem(422);
    }
    let made = with(&server, &admin, "POST", "/key", Some(make(json!(10)))).with(200);
    assert_eq!(made["works_per_day"], 10);
    let listed = with(&server, &admin, "GET", "/key", None).json();
    assert_eq!(
        (&listed[1]["works_per_day"], &listed[0]["works_per_day"]),
        (&json!(10), &Value::Null)
    );

    let bounded = made["key"].as_str().unwrap();
    let post = |path: &str, body: Value| with(&server, bounded, "POST", path, Some(body));
    let once = || {
        let headers = [
            ("authorization", bearer(bounded)),
            ("content-type", "application/json".to_owned()),
            ("idempotency-key", "once".to_owned()),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        send(server.address, "POST", "/work", &headers, Some(b"{}"))
    };
    assert_eq!(post("/work/bulk", json!([{}, {}, {}, {}, {}, {}, {}])).status, 200);
    assert_eq!(once().status, 200);
    assert_eq!(post("/work/demand", json!({})).status, 202);
    // A wrong request counts nothing, and two are one too many.
    post("/work", json!({"add_up_to": 0})).problem(422);
    post("/work/bulk", json!([{}, {}])).problem(429);
    assert_eq!(post("/work", json!({})).status, 200);
    for path in ["/work", "/work/demand"] {
        let refused = post(path, json!({}));
        assert!(refused.problem(429).contains("10 works in a day"), "{refused:?}");
        assert_eq!(refused.json()["code"], "too_many_works");
        let seconds: u32 = refused.header("retry-after").parse().unwrap();
        assert!((1..=86_400).contains(&seconds), "{seconds}");
    }
    // A request that was answered is answered again, and other keys have no bound.
    assert_eq!(once().header("idempotent-replayed"), "true");
    assert_eq!(with(&server, &admin, "POST", "/work", None).status, 200);
}

#[test]
fn a_key_revoked_elsewhere_is_refused_within_two_seconds() {
    let server = server();
    let (_admin, reader) = (key(&server, "admin", "admin"), key(&server, "reader", "read"));
    assert_eq!(with(&server, &reader, "GET", "/stats", None).status, 200);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    with(&server, &reader, "GET", "/work/1", None);
                }
            });
        }
        let revoked = server.store.revoke_key(&Principal::Open, pp_lib::domain::ApiKeyId(2));
        assert!(server.runtime.block_on(revoked).unwrap().is_some());
        let begun_at = Instant::now();
        while with(&server, &reader, "GET", "/stats", None).status == 200 && begun_at.elapsed() < Duration::from_secs(5)
        {
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(begun_at.elapsed() < Duration::from_secs(2), "{:?}", begun_at.elapsed());
    });
    with(&server, &reader, "GET", "/stats", None).problem(401);
}

#[test]
fn a_browser_signs_in_with_a_cookie() {
    let server = server();
    let admin = key(&server, "admin", "admin");
    asks(&server);
    let origin = format!("http://{}", server.address);
    let json = ("content-type", "application/json");
    let sign_in = |key: &str| {
        let body = json!({"key": key}).to_string();
        send(server.address, "POST", "/session", &[json], Some(body.as_bytes()))
    };
    sign_in(ApiKey::random().secret()).problem(401);
    let answer = sign_in(&admin);
    let cookie = answer.header("set-cookie").to_owned();
    assert_eq!(cookie, format!("pp_key={admin}; HttpOnly; SameSite=Strict; Path=/"));
    let cookie = cookie.split(';').next().unwrap();
    let asked = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie)], headers].concat();
        send(server.address, method, path, &headers, None)
    };
    assert_eq!(asked("GET", "/stats", &[]).status, 200);
    assert_eq!(asked("HEAD", "/stats/stream", &[]).status, 200);
    let detail = asked("POST", "/work", &[]).problem(403);
    assert!(detail.contains("Origin"), "{detail}");
    asked("POST", "/work", &[("origin", "http://evil.example")]).problem(403);
    assert_eq!(asked("POST", "/work", &[("origin", &origin)]).status, 200);
    let out = asked("DELETE", "/session", &[("origin", &origin)]);
    assert_eq!(
        (out.status, out.header("set-cookie").contains("Max-Age=0")),
        (204, true)
    );
}

#[test]
fn the_audit_tells_of_changes_and_not_of_refused_ones() {
    let server = server();
    server.failed("no luck");
    let [admin, operator] =
        [("admin", "admin"), ("op", "operate,create")].map(|(name, scopes)| key(&server, name, scopes));
    let id = with(&server, &operator, "POST", "/work", None).with(200)["id"].clone();
    let path = format!("/work/{id}");
    with(&server, &operator, "PATCH", &path, Some(json!({"add_up_to": 7}))).with(200);
    with(&server, &operator, "POST", &format!("{path}/cancel"), None).with(200);
    with(&server, &operator, "POST", &format!("{path}/cancel"), None).problem(409);
    with(&server, &operator, "POST", &format!("{path}/retry"), None).with(200);
    with(&server, &operator, "PUT", "/kind/user.mail", Some(json!({}))).with(200);
    with(&server, &operator, "PUT", "/kind/user.mail", Some(json!({}))).with(200);
    with(
        &server,
        &operator,
        "PATCH",
        "/kind/user.mail",
        Some(json!({"policy": {"paused": true}})),
    )
    .with(200);
    with(
        &server,
        &operator,
        "POST",
        "/deadletter/redrive?all=true&dry_run=true",
        None,
    )
    .with(200);
    with(&server, &operator, "DELETE", "/deadletter?all=true&dry_run=true", None).with(200);
    with(&server, &operator, "DELETE", "/deadletter?all=true", None).with(200);
    assert_eq!(with(&server, &operator, "DELETE", &path, None).status, 204);
    let page = with(&server, &admin, "GET", "/audit?principal=key:2+op&limit=4", None);
    let next = page.header("link").to_owned();
    let mut rows = page.json().as_array().unwrap().clone();
    let next = next.strip_prefix('<').and_then(|next| next.split_once('>')).unwrap().0;
    rows.extend(
        with(&server, &admin, "GET", next, None)
            .json()
            .as_array()
            .unwrap()
            .clone(),
    );
    let told: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["action"].as_str().unwrap(), row["subject"].as_str().unwrap()))
        .collect();
    let work = format!("work/{id}");
    let expected = [
        ("work.delete", work.as_str()),
        ("deadletter.drop", "deadletter"),
        ("kind.set", "kind/user.mail"),
        ("kind.declare", "kind/user.mail"),
        ("work.retry", &work),
        ("work.cancel", &work),
        ("work.update", &work),
    ];
    assert_eq!(told, expected);
    assert_eq!(rows[1]["details"], json!({"all": true, "count": 1}));
    with(&server, &admin, "GET", "/audit?limit=0", None).problem(400);
    with(&server, &admin, "GET", "/audit?who=me", None).problem(400);
}

#[test]
fn an_unknown_route_needs_no_scope_of_the_list() {
    assert!(
        needed_scopes()
            .iter()
            .any(|(path, _, needed)| *path == "/audit" && *needed == Some(Scope::Admin))
    );
    let server = server();
    key(&server, "admin", "admin");
    asks(&server);
    server.get("/nothing").problem(404);
}
