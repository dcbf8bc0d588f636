//! What PP does not call, and declarations of pushes and notices that it does not take.

use std::time::Duration;

use pp_testkit::wait;
use serde_json::{Value, json};

use crate::standalone::Home;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn private_addresses_are_refused() {
    let home = Home::new();
    let _pp = home.start();
    let port = home.api.port;
    for (place, host) in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "0x7f.1",
    ]
    .iter()
    .enumerate()
    {
        let kind = json!({"delivery": "push", "push_url": format!("http://{host}:{port}/health/live")}).to_string();
        home.api
            .try_json("PUT", &format!("/kind/call_{place}"), &kind, None)
            .unwrap()
            .with(200);
        let work = json!({"kind": format!("call_{place}"), "args": 1}).to_string();
        let id = home.api.post(&work)["id"].as_i64().unwrap();
        let work = || home.api.get(&format!("/work/{id}"));
        assert!(
            wait::holds_within(LIMIT, || work()["status"] == "failed"),
            "{host}: {}",
            work()
        );
        let error = work()["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains("private address") && error.contains("PP_PUSH_ALLOW"),
            "{host}: {error}"
        );
    }
}

#[test]
fn what_is_not_allowed_is_said_at_once() {
    let home = Home::new();
    let _pp = home.start();
    let put = |kind: &Value| home.api.try_json("PUT", "/kind/call", &kind.to_string(), None).unwrap();
    for (kind, why) in [
        (json!({"delivery": "push"}), "needs a `push_url`"),
        (
            json!({"push_url": "https://a.example/"}),
            "needs `\"delivery\":\"push\"`",
        ),
        (
            json!({"delivery": "push", "push_url": "https://me:secret@a.example/"}),
            "no user",
        ),
        (json!({"policy": {"notify": "ftp://a.example/"}}), "a URL must begin"),
    ] {
        assert!(put(&kind).problem(422).contains(why), "{kind}");
    }
    let work = |body: Value| home.api.try_post("/work", &body.to_string()).unwrap();
    assert!(
        work(json!({"add_up_to": 1, "notify": "nowhere"}))
            .problem(422)
            .contains("a URL must begin")
    );
    let own = work(json!({"kind": "pp.notice", "args": {"url": "http://127.0.0.1"}})).problem(422);
    assert!(own.contains("made by PP alone"), "{own}");
    let declared = home.api.try_json("PUT", "/kind/pp.notice", "{}", None).unwrap();
    assert!(declared.problem(409).contains("built in"));
}
