//! `cli_01 doctor` beside a standalone: what is well, what is wrong, and what it says to do.

use std::fs;
use std::time::Duration;

use pp_testkit::certificates::Authority;
use pp_testkit::cli::PreparedServer;
use pp_testkit::client::Api;
use pp_testkit::ports;
use serde_json::{Value, json};

use crate::program::{Ended, Program};
use crate::standalone::Home;

/// What the doctor found.
#[derive(Debug)]
pub(crate) struct Found {
    ended: Ended,
    pub(crate) document: Value,
}

impl Found {
    /// Runs the doctor, whose JSON must agree with its exit code.
    pub(crate) fn by(program: Program) -> Self {
        let ended = program.args("doctor --json").run();
        let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        let status = match ended.code {
            Some(0) => "well",
            Some(1) => "wrong",
            Some(3) => "unavailable",
            _ => panic!("{ended:?}"),
        };
        assert_eq!(document["status"], status, "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), usize::from(status != "well"), "{ended:?}");
        Self { ended, document }
    }

    pub(crate) fn code(&self) -> i32 {
        self.ended.code.unwrap()
    }

    /// Asserts this level of a finding and this part of its words or of its advice.
    pub(crate) fn has(&self, check: &str, level: &str, words: &str) {
        let all = self.document["findings"].as_array().unwrap();
        let found = all.iter().find(|finding| finding["check"] == check);
        let found = found.unwrap_or_else(|| panic!("nothing of {check}: {}", self.document));
        assert_eq!(found["level"], level, "{found}");
        assert!(found.to_string().contains(words), "{words}: {found}");
        let advised = found["advice"].as_str().is_some_and(|advice| !advice.is_empty());
        assert_eq!(advised, level != "ok", "{found}");
    }
}

fn doctor(home: &Home) -> Program {
    Program::new("cli_01")
        .folder(home.path())
        .set("PP_API_URL", format!("http://127.0.0.1:{}", home.api.port))
        .set("PP_DATABASE_URL", "sqlite://data/pp.sqlite")
}

#[test]
fn a_standalone_is_well_until_works_wait_for_a_worker() {
    let home = Home::new();
    let _service = home.start();
    let well = Found::by(doctor(&home));
    assert_eq!(well.code(), 0, "{well:?}");
    for (check, level, words) in [
        ("API", "ok", "is ready"),
        ("API version", "ok", "as here"),
        ("API clock", "ok", "the same as here"),
        ("API keys", "note", "cli_01 key create"),
        ("database", "ok", "SQLite 3."),
        ("database clock", "ok", "the same as here"),
        ("database writes", "ok", "takes changes"),
        ("keys", "note", "--call-type db"),
        ("broker", "note", "PP_BROKER_URL"),
        ("cache", "note", "PP_CACHE_URL"),
        ("kinds", "ok", "none waits for a worker"),
    ] {
        well.has(check, level, words);
    }

    let pull = json!({"delivery": "pull"}).to_string();
    let declared = home.api.try_json("PUT", "/kind/script", &pull, None);
    declared.unwrap().with(200);
    let created = doctor(&home)
        .args("work create --kind script --args {} --run-at +1h")
        .run();
    assert_eq!(created.code, Some(0), "{created:?}");
    assert_eq!(
        Found::by(doctor(&home)).code(),
        0,
        "a scheduled work waits for its time"
    );
    assert_eq!(Found::by(doctor(&home).args("--call-type db")).code(), 0);
    home.api.post(r#"{"kind":"script","args":{}}"#);
    let alone = Found::by(doctor(&home));
    assert_eq!(alone.code(), 1, "{alone:?}");
    alone.has("kind script", "wrong", "one work waits, and no worker was heard of");
    alone.has("kind script", "wrong", "cli_01 kind pause script");
    let paused = doctor(&home).args("kind pause script").run();
    assert_eq!(paused.code, Some(0), "{paused:?}");
    let paused = Found::by(doctor(&home));
    assert_eq!(paused.code(), 0, "{paused:?}");
    paused.has("kind script", "note", "while it is paused");

    let text = doctor(&home).args("doctor").run();
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.starts_with("ok    API "), "{text:?}");
    assert!(text.stdout.contains("-> run `cli_01 kind resume script`"), "{text:?}");
    // Without the API the same is known of the kinds.
    let of_database = Found::by(doctor(&home).args("--call-type db"));
    of_database.has("kind script", "note", "while it is paused");
    assert!(!of_database.document.to_string().contains("\"API"), "{of_database:?}");
}

#[test]
fn what_a_key_may_not_do_is_said() {
    let home = Home::new();
    let file = home.path().join("admin.key");
    let _service = home.start_with(&[("PP_ADMIN_KEY_FILE", file.to_str().unwrap())]);
    let none = Found::by(doctor(&home));
    assert_eq!(none.code(), 1, "{none:?}");
    none.has("API keys", "wrong", "none is given");
    none.has("keys", "ok", "1 valid, 1 with the scope admin");
    let admin = Found::by(doctor(&home).args("--key-file admin.key"));
    assert_eq!(admin.code(), 0, "{admin:?}");
    admin.has("API keys", "ok", "may read");
    let made = doctor(&home)
        .args("key create --name worker --scopes work --key-file admin.key --json")
        .run();
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let key = made["key"].as_str().unwrap();
    let worker = Found::by(doctor(&home).set("PP_API_KEY", key));
    assert_eq!(worker.code(), 0, "{worker:?}");
    worker.has("API keys", "note", "scope read");
    let revoked = doctor(&home).args("key revoke 2 --key-file admin.key").run();
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let revoked = Found::by(doctor(&home).set("PP_API_KEY", key));
    assert_eq!(revoked.code(), 1, "{revoked:?}");
    revoked.has("API keys", "wrong", "not valid");
    assert!(!format!("{revoked:?}").contains(key));
}

#[test]
fn a_certificate_that_ends_soon_is_wrong() {
    let authority = Authority::new().unwrap();
    let day = Duration::from_secs(24 * 3600);
    for (time, code, level, words) in [
        (5 * day + day / 2, 1, "wrong", "ends in 5 days"),
        (100 * day, 0, "ok", "valid until 20"),
    ] {
        let home = Home::new();
        let shown = authority.certify_for(time, &["localhost"]).unwrap();
        for (name, content) in [
            ("ca.pem", authority.pem()),
            ("cert.pem", shown.certificate),
            ("key.pem", shown.key),
        ] {
            fs::write(home.path().join(name), content).unwrap();
        }
        let port = home.api.port;
        let program = home
            .program()
            .set("PP_TLS_CERT", "cert.pem")
            .set("PP_TLS_KEY", "key.pem");
        let mut service = program.start();
        service.gets_ready(&Api::over_tls(port, &authority.pem()));
        let doctor = doctor(&home)
            .set("PP_API_URL", format!("https://localhost:{port}"))
            .set("PP_TLS_CA", "ca.pem");
        let found = Found::by(doctor);
        assert_eq!(found.code(), code, "{found:?}");
        found.has("API TLS", level, words);
    }
}

#[test]
fn what_does_not_answer_is_unavailable_and_what_is_no_pp_is_wrong() {
    let home = Home::new();
    let away = Found::by(doctor(&home));
    assert_eq!(away.code(), 3, "{away:?}");
    away.has("API", "unavailable", "Connection refused");
    away.has("database", "wrong", "there is no database file data/pp.sqlite");
    let [port] = ports::free().unwrap();
    let servers = doctor(&home)
        .args("--timeout 500ms")
        .set("PP_DATABASE_URL", format!("postgres://u:hunter2@127.0.0.1:{port}/d"))
        .set("PP_BROKER_URL", format!("amqp://u:hunter2@127.0.0.1:{port}"))
        .set("PP_CACHE_URL", format!("redis://:hunter2@127.0.0.1:{port}"));
    let away = Found::by(servers);
    assert_eq!(away.code(), 3, "{away:?}");
    for (check, variable) in [
        ("database", "PP_DATABASE_URL"),
        ("broker", "PP_BROKER_URL"),
        ("cache", "PP_CACHE_URL"),
    ] {
        away.has(check, "unavailable", variable);
    }
    assert!(!format!("{away:?}").contains("hunter2"), "{away:?}");

    let page = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let server = PreparedServer::sending(page);
    let other = Found::by(doctor(&home).set("PP_API_URL", format!("http://{}", server.address)));
    assert_eq!(other.code(), 1, "{other:?}");
    other.has("API", "wrong", "like no API of PP");
}
