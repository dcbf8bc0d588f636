//! Works that are pushed to a URL, and notices of finished works: a service in Node.js takes them, and checks their
//! signatures with an implementation of Standard Webhooks that is not PP's.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pp_testkit::client::Api;
use pp_testkit::programs::Program as Foreign;
use pp_testkit::{install, ports, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Process, Program};
use crate::standalone::Home;

const LIMIT: Duration = Duration::from_secs(20);

/// The package that checks signatures.
const STANDARD_WEBHOOKS: &str = "standardwebhooks@1.0.0";

/// Writes every request to `requests`, a line each, with the number of the secret in `secrets` that signed it. Answers as
/// the arguments say.
const SERVICE: &str = r#"
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const signers = (body, headers) => {
  const secrets = existsSync("secrets") ? readFileSync("secrets", "utf8").split("\n").filter(Boolean) : [];
  return secrets.map((secret) => {
    try {
      new Webhook(secret).verify(body, headers);
      return true;
    } catch {
      return false;
    }
  });
};

createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts).toString();
    const { url, headers } = request;
    appendFileSync("requests", JSON.stringify({ url, headers, body, signed: signers(body, headers) }) + "\n");
    const answer = (status, text = "", more = {}) => response.writeHead(status, more).end(text);
    const json = { "content-type": "application/json" };
    if (existsSync("gone")) return answer(410);
    if (url === "/notice") return answer(204);
    const { args, attempt } = JSON.parse(body);
    switch (args.do) {
      case "result": return answer(200, '{"n": 1.10, "attempt":' + attempt + "}", json);
      case "empty": return answer(204);
      case "text": return answer(200, "ok", { "content-type": "text/plain" });
      case "later": return answer(202);
      case "busy": return attempt === 1 ? answer(503, "come back", { "retry-after": "0" }) : answer(200, "2", json);
      case "refuse": return answer(422, "no such user");
      case "move": return answer(302, "", { location: "/elsewhere" });
      case "hang": return;
      case "large": return answer(200, JSON.stringify("x".repeat(100000)), json);
      case "drop": return attempt === 1 ? request.socket.destroy() : answer(200, "3", json);
      case "broken": return answer(200, "{", json);
    }
  });
}).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("listening"));
"#;

/// PP with a pushed kind, and the service behind its URL.
struct Place {
    home: Home,
    pp: Process,
    port: u16,
    folder: TempDir,
    _service: Process,
}

impl Place {
    fn new() -> Self {
        install::install(&[Foreign::Node, Foreign::Npm], |_| ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut npm = Command::new(Foreign::Npm.locate().unwrap());
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            STANDARD_WEBHOOKS,
        ]);
        let installed = npm.current_dir(folder.path()).output().unwrap();
        assert!(installed.status.success(), "{installed:?}");
        fs::write(folder.path().join("service.mjs"), SERVICE).unwrap();
        let [port] = ports::free().unwrap();
        let mut service = Program::foreign("service", Foreign::Node.locate().unwrap())
            .args(&format!("service.mjs {port}"))
            .folder(folder.path())
            .start();
        service.is_seen_to("listen", |service| service.stdout().contains("listening"));
        let home = Home::new();
        let pp = home.start_with(&[("PP_PUSH_ALLOW", "127.0.0.1")]);
        let place = Self {
            home,
            pp,
            port,
            folder,
            _service: service,
        };
        place.declare("push", json!({"lease": "300ms"}));
        place
    }

    fn api(&self) -> &Api {
        &self.home.api
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn declare(&self, delivery: &str, policy: Value) {
        let mut kind = json!({"delivery": delivery, "policy": {"max_attempts": 3, "backoff": {"base": "0s"}}});
        for (name, value) in policy.as_object().unwrap() {
            kind["policy"][name] = value.clone();
        }
        if delivery == "push" {
            kind["push_url"] = json!(self.url("/work"));
        }
        self.api()
            .try_json("PUT", "/kind/call", &kind.to_string(), None)
            .unwrap()
            .with(200);
    }

    fn create(&self, what: &str) -> i64 {
        let work = json!({"kind": "call", "args": {"do": what}});
        self.api().post(&work.to_string())["id"].as_i64().unwrap()
    }

    fn until(&self, id: i64, status: &str) -> Value {
        let work = || self.api().get(&format!("/work/{id}"));
        let holds = || work()["status"] == status;
        assert!(
            wait::holds_within(LIMIT, holds),
            "not {status}: {}\n{}",
            work(),
            self.pp.stderr()
        );
        work()
    }

    /// The requests to a path that concern a work, the first first.
    fn requests(&self, path: &str, id: i64) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("requests")).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let about = |request: &Value| {
            let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
            let of_work = body["data"]["id"].as_i64().or(body["id"].as_i64());
            request["url"] == path && of_work == Some(id)
        };
        all.filter(about).collect()
    }

    /// Writes down the secrets that the service checks with.
    fn checks_with(&self, secrets: &[&str]) {
        fs::write(self.folder.path().join("secrets"), secrets.join("\n")).unwrap();
    }

    fn set_secret(&self, body: &Value) -> Value {
        let set = self.api().try_json("PUT", "/kind/call/secret", &body.to_string(), None);
        set.unwrap().with(200)
    }

    /// The secrets that signed the only request about a new work.
    fn signers(&self) -> Value {
        let id = self.create("result");
        self.until(id, "done");
        self.requests("/work", id)[0]["signed"].clone()
    }
}

#[test]
fn the_answer_of_the_url_decides() {
    let place = Place::new();
    let ids = |all: &[&str]| -> Vec<i64> { all.iter().map(|what| place.create(what)).collect() };
    let good = ids(&["result", "empty", "text", "busy", "drop"]);
    let results: Vec<Value> = good
        .iter()
        .map(|id| place.until(*id, "done")["result"].clone())
        .collect();
    assert_eq!(
        results,
        [
            json!({"n": 1.1, "attempt": 1}),
            json!(null),
            json!(null),
            json!(2),
            json!(3)
        ]
    );
    let raw = place.api().try_get(&format!("/work/{}", good[0])).unwrap().body;
    assert!(
        raw.contains(r#""result":{"n": 1.10, "attempt":1}"#),
        "byte for byte: {raw}"
    );
    let bad = ids(&["refuse", "move", "large", "broken"]);
    let reasons = [
        "answered 422: no such user",
        "redirects are not followed",
        "more than 65536 bytes",
        "no JSON",
    ];
    for (id, reason) in bad.iter().zip(reasons) {
        let work = place.until(*id, "failed");
        assert!(work["error"].as_str().unwrap().contains(reason), "{work}");
        assert_eq!(place.requests("/work", *id).len(), 1, "{reason} is not tried again");
    }
    let busy = place.requests("/work", good[3]);
    let body = |request: &Value| serde_json::from_str::<Value>(request["body"].as_str().unwrap()).unwrap();
    let ids: Vec<&Value> = busy.iter().map(|request| &request["headers"]["webhook-id"]).collect();
    assert_eq!((ids.len(), ids[0]), (2, ids[1]), "the same on retries");
    assert_eq!(body(&busy[1])["idempotency_key"], *ids[0]);
    assert_eq!(
        (body(&busy[0])["attempt"].clone(), body(&busy[1])["attempt"].clone()),
        (json!(1), json!(2))
    );
    let names = [
        "run",
        "id",
        "work_code",
        "kind",
        "args",
        "attempt",
        "idempotency_key",
        "lease_until",
    ];
    assert!(names.iter().all(|name| !body(&busy[0])[name].is_null()), "{busy:?}");
    assert!(
        busy[0]["headers"].get("webhook-signature").is_none(),
        "there is no secret"
    );
    assert!(busy[0]["headers"]["user-agent"].as_str().unwrap().starts_with("PP/"));
}

#[test]
fn a_url_that_hangs_fails_at_the_time_limit() {
    let place = Place::new();
    place.declare("push", json!({"timeout": "300ms", "max_attempts": 1}));
    let work = place.until(place.create("hang"), "failed");
    assert_eq!(work["error"], "took longer than 300ms");
}

#[test]
fn a_url_that_accepts_completes_later() {
    let place = Place::new();
    let id = place.create("later");
    assert!(wait::holds_within(LIMIT, || place.requests("/work", id).len() == 1));
    let request = place.requests("/work", id).remove(0);
    let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
    let run = || place.api().get("/worker")[0]["works"][0].clone();
    // Its lease is the time limit of the kind, 15 minutes; before the answer it was 300 ms.
    let is_left = || run()["lease_until"].as_i64() == body["lease_until"].as_i64();
    assert!(wait::holds_within(LIMIT, is_left), "{}", place.api().get("/worker"));
    let long = body["lease_until"].as_i64().unwrap() - run()["since"].as_i64().unwrap();
    assert!((890..=910).contains(&long), "{long}");
    let token = body["run"].as_str().unwrap();
    let beat = json!({"run": token, "progress": 50});
    place
        .api()
        .try_post("/run/heartbeat", &beat.to_string())
        .unwrap()
        .with(200);
    let end = json!({"run": token, "result": {"by": "the service"}}).to_string();
    for _ in 0..2 {
        let work = place.api().try_post("/run/complete", &end).unwrap().with(200);
        assert_eq!(
            (&work["status"], &work["result"]["by"]),
            (&json!("done"), &json!("the service"))
        );
    }
    let (events, _) = place.api().history(id);
    let expected = [
        "work/created",
        "compute/start",
        "compute/progress",
        "compute/stop",
        "compute/result",
    ];
    assert_eq!(events, expected);
    assert_eq!(place.requests("/work", id).len(), 1);
}

#[test]
fn signatures_are_those_of_the_specification_and_secrets_rotate() {
    let place = Place::new();
    let first = place.set_secret(&json!({}))["secret"].as_str().unwrap().to_owned();
    let second = format!("whsec_{}", "QUJD".repeat(8));
    place.checks_with(&[&first, &second]);
    let is_signed_by = |signers: Value| wait::holds_within(LIMIT, || place.signers() == signers);
    assert!(is_signed_by(json!([true, false])));
    let set = place.set_secret(&json!({"secret": second}));
    assert!(set.get("secret").is_none() && set["previous_until"].is_i64(), "{set}");
    assert!(is_signed_by(json!([true, true])), "both sign for a day");
    let third = place.set_secret(&json!({"keep_previous": "0s"}));
    let third = third["secret"].as_str().unwrap().to_owned();
    place.checks_with(&[&first, &second, &third]);
    assert!(is_signed_by(json!([false, false, true])));
    let shown = place.api().try_get("/kind/call").unwrap().body;
    assert!(
        shown.contains(r#""has_secret":true"#) && !shown.contains("whsec_"),
        "{shown}"
    );
    assert!(!place.api().try_get("/audit").unwrap().body.contains("whsec_"));
    for (body, why) in [
        (r#"{"secret":"whsec_QUJD"}"#, "/secret: a secret is"),
        (r#"{"keep_previous":"31d"}"#, "keep_previous must be"),
        (r#"{"secrets":[]}"#, "unknown field"),
    ] {
        let refused = place.api().try_json("PUT", "/kind/call/secret", body, None).unwrap();
        assert!(refused.problem(422).contains(why), "{why}");
    }
    let missing = place.api().try_json("PUT", "/kind/nobody/secret", "{}", None);
    missing.unwrap().problem(404);
}

#[test]
fn a_url_that_is_gone_pauses_its_kind() {
    let place = Place::new();
    let gone = place.folder.path().join("gone");
    fs::write(&gone, "").unwrap();
    let id = place.create("result");
    let kind = || place.api().get("/kind/call");
    assert!(
        wait::holds_within(LIMIT, || kind()["policy"]["paused"] == true),
        "{}",
        kind()
    );
    place.until(id, "pending");
    fs::remove_file(&gone).unwrap();
    let resume = r#"{"policy":{"paused":null}}"#;
    place
        .api()
        .try_json("PATCH", "/kind/call", resume, None)
        .unwrap()
        .with(200);
    let work = place.until(id, "done");
    assert_eq!(work.get("error"), None, "a pause is no failure: {work}");
}

#[test]
fn a_kind_changes_to_push_and_back() {
    let place = Place::new();
    place.declare("pull", json!({}));
    let claim = |wait: &str| {
        let claim = json!({"kinds": ["call"], "worker": "w", "wait": wait, "max": 10});
        place
            .api()
            .try_post("/run/claim", &claim.to_string())
            .unwrap()
            .with(200)["runs"]
            .clone()
    };
    let pulled = place.create("result");
    let claimed = claim("20s");
    assert_eq!(claimed[0]["id"], pulled);
    let waiting = place.create("result");
    place.declare("push", json!({}));
    place.until(waiting, "done");
    // What a worker has stays its own.
    let end = json!({"run": claimed[0]["run"], "result": "mine"}).to_string();
    place.api().try_post("/run/complete", &end).unwrap().with(200);
    assert!(place.requests("/work", pulled).is_empty());
    let refused = json!({"kinds": ["call"]}).to_string();
    let refused = place.api().try_post("/run/claim", &refused).unwrap().problem(422);
    assert!(refused.contains("its URL, which is called"), "{refused}");
    place.declare("pull", json!({}));
    // The consumer hears of it within a second.
    let is_claimed = || {
        let again = place.create("result");
        claim("1s")[0]["id"] == again && place.requests("/work", again).is_empty()
    };
    assert!(wait::holds_within(LIMIT, is_claimed));
}

#[test]
fn finished_works_are_told() {
    let place = Place::new();
    let secret = place.set_secret(&json!({}))["secret"].as_str().unwrap().to_owned();
    place.checks_with(&[&secret]);
    let notify = json!({"policy": {"notify": place.url("/notice")}}).to_string();
    place
        .api()
        .try_json("PATCH", "/kind/call", &notify, None)
        .unwrap()
        .with(200);
    let (done, failed) = (place.create("result"), place.create("refuse"));
    let own = json!({"add_up_to": 100, "notify": place.url("/notice")});
    let sum = place.api().post(&own.to_string())["id"].as_i64().unwrap();
    let tomorrow = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 86_400;
    let later = json!({"kind": "call", "args": {"do": "result"}, "run_at": tomorrow});
    let cancelled = place.api().post(&later.to_string())["id"].as_i64().unwrap();
    place
        .api()
        .try_post(&format!("/work/{cancelled}/cancel"), "")
        .unwrap()
        .with(200);
    for (id, status) in [
        (done, "done"),
        (failed, "failed"),
        (sum, "done"),
        (cancelled, "cancelled"),
    ] {
        let told = || place.requests("/notice", id);
        assert!(
            wait::holds_within(LIMIT, || told().len() == 1),
            "{status}: {}",
            place.pp.stderr()
        );
        let notice = told().remove(0);
        let body: Value = serde_json::from_str(notice["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["type"], format!("work.{status}"));
        assert_eq!(body["data"], place.api().get(&format!("/work/{id}")));
        assert!(
            body["timestamp"].as_str().unwrap().ends_with('Z') && body.get("url").is_none(),
            "{body}"
        );
        // The sum's kind has no secret of its own.
        let expected = if id == sum { json!([false]) } else { json!([true]) };
        assert_eq!(notice["signed"], expected, "{notice}");
    }
    let log = place.api().get("/work/search?kind=pp.notice");
    assert_eq!(log.as_array().unwrap().len(), 4, "the works of the kind are the log");
}

#[test]
fn a_notice_outlives_a_kill() {
    let place = Place::new();
    let [nobody] = ports::free().unwrap();
    let own = json!({"add_up_to": 7, "notify": format!("http://127.0.0.1:{nobody}/")});
    let id = place.api().post(&own.to_string())["id"].as_i64().unwrap();
    place.until(id, "done");
    place.pp.kill();
    let (home, allowed) = (&place.home, [("PP_PUSH_ALLOW", "127.0.0.1")]);
    let _pp = home.start_with(&allowed);
    let notices = home.api.get("/work/search?kind=pp.notice");
    let [notice] = &notices.as_array().unwrap()[..] else {
        panic!("{notices}")
    };
    let events = || home.api.get(&format!("/work/{}/events", notice["id"])).to_string();
    assert!(
        wait::holds_within(LIMIT, || events().contains("no connection")),
        "{}",
        events()
    );
    assert_eq!(notice["args"]["data"]["result"], 28);
}
