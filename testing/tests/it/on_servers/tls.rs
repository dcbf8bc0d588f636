//! TLS on every wire, between PP's programs and servers that insist on it.

use std::time::{Duration, Instant};

use pp_testkit::certificates::Authority;
use pp_testkit::client::Api;
use pp_testkit::ports;
use pp_testkit::servers::{Kind, PrivateServers};
use pp_testkit::wait;

use super::up_and_down::System;
use crate::program::{Ended, Program};

/// Much longer than a refusal takes, and shorter than the wait for a server that may still come.
const AT_ONCE: Duration = Duration::from_secs(20);

#[test]
fn a_system_works_with_tls_on_every_wire() {
    let system = System::new();
    let up = system.run("up --tls");
    assert_eq!(up.code, Some(0), "{up:?}");
    let authority = std::fs::read_to_string(system.state().join("tls/ca.pem")).unwrap();
    let api = Api::over_tls(system.ports[0], &authority);

    // From the producer through the queue and the worker, and from the API through the dispatcher.
    let found = || api.get("/work/search?work_code=consumer-&done=true");
    assert!(
        wait::holds_within(Duration::from_secs(20), || !found().as_array().unwrap().is_empty()),
        "no demand of the producer was worked off"
    );
    let id = api.post(r#"{"add_up_to":100}"#)["id"].as_i64().unwrap();
    let watched = system.tool("cli_01", &format!("watch --id {id}"));
    assert_eq!(watched.code, Some(0), "{watched:?}");
    let path = format!("/work/{id}");
    // A cached read may be as old as PP_STALENESS.
    let is_done = || api.get(&path)["result"] == 5050;
    assert!(
        wait::holds_within(Duration::from_secs(10), is_done),
        "{}",
        api.get(&path)
    );
    assert!(
        wait::holds_within(Duration::from_secs(10), || api
            .try_get(&path)
            .unwrap()
            .header("cache-status")
            .contains("hit")),
        "the cache answers nothing"
    );
    for call in ["http", "db"] {
        let shown = system.tool("cli_01", &format!("--id {id} --call-type {call} --output json"));
        assert!(shown.code == Some(0) && shown.stdout.contains("5050"), "{shown:?}");
    }
    let port = system.ports[0];
    let bytes = system.tool(
        "cli_02",
        &format!("--tls verify --host localhost --port {port} --path {path}"),
    );
    assert!(bytes.code == Some(0) && bytes.stdout.contains("5050"), "{bytes:?}");

    let status = system.run("status");
    let ready = status.stdout.lines().filter(|line| line.ends_with("ready")).count();
    assert_eq!((status.code, ready), (Some(0), 6), "{status:?}");
    let without = system.run("up");
    assert!(
        without.code == Some(1) && without.stderr.contains("make down"),
        "{without:?}"
    );
    let down = system.run("down");
    assert_eq!(down.stdout.lines().last(), Some("nothing left running"), "{down:?}");
}

/// A place for a program's variables: the URLs of servers, and what it trusts.
struct Client {
    urls: [String; 3],
    _folder: tempfile::TempDir,
    authority: std::path::PathBuf,
}

impl Client {
    fn of(servers: &PrivateServers, authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        Self {
            urls: [Kind::Postgres, Kind::RabbitMq, Kind::Redis].map(|kind| servers.url(kind).unwrap()),
            _folder: folder,
            authority: file,
        }
    }

    /// The same servers by another name, which their certificate does not have.
    fn by_address(mut self) -> Self {
        self.urls = self.urls.map(|url| url.replace("localhost", "127.0.0.1"));
        self
    }

    fn with_mode(mut self, mode: &str) -> Self {
        self.urls[0] = self.urls[0].replace("sslmode=verify-full", mode);
        self
    }

    fn program(&self, name: &str) -> Program {
        let [database, broker, cache] = &self.urls;
        let [port] = ports::free().unwrap();
        Program::new(name)
            .set("PP_DATABASE_URL", database)
            .set("PP_BROKER_URL", broker)
            .set("PP_CACHE_URL", cache)
            .set("PP_TLS_CA", &self.authority)
            .set("PP_API_BIND", format!("127.0.0.1:{port}"))
            .set("PP_PROBE_BIND", "off")
    }

    /// A program's refusal to start, which comes at once and is one line about a variable.
    fn refused(&self, name: &str, args: &str, variable: &str, why: &str) {
        let began = Instant::now();
        let ended = self.program(name).args(args).run();
        assert!(began.elapsed() < AT_ONCE, "{ended:?}");
        is_about(&ended, variable, why);
    }
}

fn is_about(ended: &Ended, variable: &str, why: &str) {
    assert!(matches!(ended.code, Some(1 | 3)), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains(variable) && last.contains(why), "{why}: {ended:?}");
}

/// PostgreSQL by way of libpq and of the feed, RabbitMQ, and Redis, which is never a reason not to start.
fn everyone_refuses(client: &Client, why: &str) {
    client.refused("pp_storage", "migrate", "PP_DATABASE_URL", why);
    client.refused("task_consumer", "", "PP_DATABASE_URL", why);
    client.refused("task_producer", "--once", "PP_BROKER_URL", why);
    let without_cache = client
        .program("pp_standalone")
        .set("PP_DATABASE_URL", "sqlite://pp.sqlite");
    let folder = tempfile::tempdir().unwrap();
    let mut standalone = without_cache
        .set("PP_BROKER_URL", "memory:")
        .folder(folder.path())
        .start();
    standalone.says("PP_CACHE_URL");
    let log = standalone.stderr();
    let line = log.lines().find(|line| line.contains("PP_CACHE_URL")).unwrap();
    assert!(line.contains(why), "{line}");
}

#[test]
fn servers_that_insist_on_tls_are_used_and_checked() {
    let (ours, foreign) = (Authority::new().unwrap(), Authority::new().unwrap());
    let certificate = ours.certify(&["localhost"]).unwrap();
    let servers = PrivateServers::temporary_with_tls(&Kind::ALL, certificate).unwrap();
    let client = || Client::of(&servers, &ours);
    let migrated = |client: &Client| client.program("pp_storage").args("migrate").run();

    assert_eq!(migrated(&client()).code, Some(0));
    let produced = client().program("task_producer").args("--once").run();
    assert_eq!(produced.code, Some(0), "{produced:?}");
    for mode in ["sslmode=verify-ca", "sslmode=require", "sslmode=prefer", ""] {
        // Without the name or without any check, as libpq defines it.
        let done = migrated(&client().by_address().with_mode(mode));
        assert_eq!(done.code, Some(0), "{mode}: {done:?}");
        if mode != "sslmode=verify-ca" {
            let done = migrated(&Client::of(&servers, &foreign).with_mode(mode));
            assert_eq!(done.code, Some(0), "{mode}: {done:?}");
        }
    }
    let plain = migrated(&client().with_mode("sslmode=disable"));
    is_about(&plain, "PP_DATABASE_URL", "no encryption");

    everyone_refuses(&client().by_address(), "it is for localhost, not for 127.0.0.1");
    let stranger = Client::of(&servers, &foreign);
    everyone_refuses(&stranger, "no authority that is trusted here has signed it");
    stranger
        .with_mode("sslmode=verify-ca")
        .refused("pp_storage", "migrate", "PP_DATABASE_URL", "no authority");
}

#[test]
fn a_certificate_that_has_expired_is_refused_on_every_wire() {
    let ours = Authority::new().unwrap();
    let certificate = ours.certify_expired(&["localhost"]).unwrap();
    let servers = PrivateServers::temporary_with_tls(&Kind::ALL, certificate).unwrap();
    everyone_refuses(&Client::of(&servers, &ours), "it has expired");
}

#[test]
fn a_server_without_tls_is_no_server_where_tls_is_required() {
    let url = std::env::var(Kind::Postgres.test_variable()).expect("run `make test`");
    let url = format!("{url}?sslmode=require");
    let ended = Program::new("pp_storage")
        .args("migrate")
        .set("PP_DATABASE_URL", url)
        .run();
    is_about(&ended, "PP_DATABASE_URL", "offers no TLS, and sslmode=require needs it");
}
