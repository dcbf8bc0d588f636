//! Who may use a service, as people start it: addresses that others reach, the first key, and `cli_01` with a key.

use std::fs;

use pp_testkit::client::Api;
use pp_testkit::ports;

use crate::program::Program;
use crate::standalone::Home;

/// A standalone that others reach, on a free port.
fn reachable(home: &Home) -> Program {
    home.program().set("PP_API_BIND", format!("0.0.0.0:{}", home.api.port))
}

fn cli(home: &Home, words: &str) -> Program {
    Program::new("cli_01")
        .args(words)
        .set("PP_API_URL", format!("http://127.0.0.1:{}", home.api.port))
}

#[test]
fn an_address_that_others_reach_needs_a_key_or_a_word() {
    let home = Home::new();
    let ended = reachable(&home).set("PP_LOG", "error").run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap();
    for advice in [
        "PP_API_BIND: 0.0.0.0:",
        "PP_ADMIN_KEY_FILE",
        "cli_01 key create",
        "PP_AUTH=off",
    ] {
        assert!(last.contains(advice), "{last}");
    }
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");

    let mut open = reachable(&home).set("PP_AUTH", "off").start();
    open.gets_ready(&home.api);
    assert!(
        open.stderr().contains("WARN") && open.stderr().contains("PP_AUTH is off"),
        "{}",
        open.stderr()
    );
    home.api.post("");
    open.terminate();
}

#[test]
fn the_first_key_is_made_in_its_file_and_is_what_clients_send() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.key");
    let with_file = || reachable(&home).set("PP_ADMIN_KEY_FILE", &file).set("PP_LOG", "debug");
    let mut service = with_file().start();
    service.gets_ready(&home.api);
    let key = fs::read_to_string(&file).unwrap().trim().to_owned();

    let without = cli(&home, "create").run();
    assert_eq!(
        (without.code, without.stderr.lines().count()),
        (Some(2), 1),
        "{without:?}"
    );
    assert!(without.stderr.contains("PP_API_KEY"), "{without:?}");
    let created = cli(&home, "create --output json").set("PP_API_KEY_FILE", &file).run();
    assert_eq!(created.code, Some(0), "{created:?}");
    let made = cli(
        &home,
        "key create --name reader --scopes read --works-per-day 4711 --output json",
    )
    .set("PP_API_KEY", &key)
    .run();
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let reader = made["key"].as_str().unwrap().to_owned();
    let refused = cli(&home, "create").set("PP_API_KEY", &reader).run();
    assert!(
        refused.code == Some(2) && refused.stderr.contains("lacks the scope create"),
        "{refused:?}"
    );
    assert_eq!(cli(&home, "--id 1").set("PP_API_KEY", &reader).run().code, Some(0));
    assert_eq!(cli(&home, "key revoke 2").set("PP_API_KEY", &key).run().code, Some(0));
    assert_eq!(cli(&home, "--id 1").set("PP_API_KEY", &reader).run().code, Some(2));
    let list = cli(&home, "key list").set("PP_API_KEY", &key).run();
    assert!(
        list.stdout.contains("reader") && list.stdout.contains("4711") && !list.stdout.contains(&reader),
        "{list:?}"
    );
    let audit = cli(&home, "audit --action key.revoke").set("PP_API_KEY", &key).run();
    assert!(
        audit.stdout.contains("key/2") && audit.stdout.contains("key:1 admin"),
        "{audit:?}"
    );
    let wrong = cli(&home, "--id 1").set("PP_API_KEY", "hunter2").run();
    assert!(wrong.code == Some(2) && !wrong.stderr.contains("hunter2"), "{wrong:?}");

    let log = service.terminate().stderr;
    assert!(log.contains("admin.key") && log.contains("to key:1 admin"), "{log}");
    assert!(
        !log.contains(&key) && !log.contains(&reader) && !log.contains("hunter2"),
        "{log}"
    );

    // The next start finds the key, and another file is of no use.
    let other = folder.path().join("other.key");
    let mut service = reachable(&home).set("PP_ADMIN_KEY_FILE", &other).start();
    service.gets_ready(&home.api);
    assert!(!other.exists());
    assert_eq!(cli(&home, "--id 1").set("PP_API_KEY", &key).run().code, Some(0));
    service.terminate();
}

#[test]
fn a_file_without_a_key_is_refused_and_not_quoted() {
    let [port] = ports::free().unwrap();
    let home = Home::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hunter2").unwrap();
    let ended = home
        .program()
        .set("PP_API_BIND", format!("127.0.0.1:{port}"))
        .set("PP_ADMIN_KEY_FILE", file.path())
        .set("PP_LOG", "error")
        .run();
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(
        ended.stderr.contains("PP_ADMIN_KEY_FILE") && !ended.stderr.contains("hunter2"),
        "{ended:?}"
    );
    assert!(!Api::at(port).is_ready());
}

#[test]
fn where_a_proxy_signs_users_in_they_and_keys_alone_come_in() {
    let home = Home::new();
    let mut service = home
        .program()
        .set("PP_PROXY_NETWORKS", "10.0.3.0/24,127.0.0.1")
        .set("PP_PROXY_USER_HEADER", "Remote-User")
        .set("PP_PROXY_SCOPES", "read,create")
        .start();
    service.gets_ready(&home.api);
    // There is no key yet, and nobody is let in without one.
    home.api.try_get("/stats").unwrap().problem(401);
    let origin = format!("http://127.0.0.1:{}", home.api.port);
    let alice = [("remote-user", "alice"), ("origin", origin.as_str())];
    let asked = |method: &str, path: &str| home.api.try_send(method, path, &alice, None).unwrap();
    asked("POST", "/work").with(200);
    asked("GET", "/work/1").with(200);
    asked("POST", "/work/1/cancel").problem(403);
    let usual = [("x-forwarded-user", "alice")];
    home.api.try_send("GET", "/work/1", &usual, None).unwrap().problem(401);
    service.terminate();

    for (variable, value, why) in [
        ("PP_PROXY_NETWORKS", "0.0.0.0/0", "every address"),
        ("PP_PROXY_NETWORKS", "proxy", "10.0.3.0/24"),
        ("PP_PROXY_USER_HEADER", "Cookie", "something else"),
        ("PP_PROXY_SCOPES", "everything", "read,create"),
    ] {
        let ended = home.program().set(variable, value).run();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.stderr.contains(variable) && ended.stderr.contains(why),
            "{ended:?}"
        );
    }
}
