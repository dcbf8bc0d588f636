//! What a service says when it cannot start, and that it stops while it still waits. No server is needed: that is the point.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pp_testkit::ports;
use serde_json::Value;

use crate::program::{Ended, Program};
use pp_testkit::client::Api;

const DATABASE: (&str, &str) = ("PP_DATABASE_URL", "postgres://pp:s3cret@127.0.0.1:1/pp");
const BROKER: (&str, &str) = ("PP_BROKER_URL", "amqp://pp:s3cret@127.0.0.1:1/%2f");
const SOON: (&str, &str) = ("PP_STARTUP_TIMEOUT", "1s");
/// How long one try to reach the database takes at most.
const TRY: (&str, &str) = ("PP_DATABASE_TIMEOUT", "300ms");
const NO_PAGES: (&str, &str) = ("PP_PROBE_BIND", "off");
const SERVICES: [&str; 3] = ["pp_backend_api", "task_consumer", "task_producer"];

/// A service that would start if its servers were there, with other settings on top; an empty one is taken away.
fn service(name: &str, settings: &[(&str, &str)]) -> Program {
    let [port] = ports::free().unwrap();
    let usual = [DATABASE, BROKER, SOON, TRY];
    let given = |variable: &str| settings.iter().any(|(given, _)| *given == variable);
    let program = Program::new(name).set("PP_API_BIND", format!("127.0.0.1:{port}"));
    let usual = usual
        .into_iter()
        .chain([NO_PAGES])
        .filter(|(variable, _)| !given(variable));
    usual
        .chain(settings.iter().copied().filter(|(_, value)| !value.is_empty()))
        .fold(program, |program, (variable, value)| program.set(variable, value))
}

/// It ended with an error, and its last line says which variable it is about.
fn is_told(ended: &Ended, variable: &str) -> String {
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains(variable),
        "the last line is not about {variable}: {ended:?}"
    );
    // Before it, at most that a server is waited for.
    assert!(ended.stderr.lines().count() <= 2, "{ended:?}");
    for secret in ["s3cret", "panicked"] {
        assert!(
            !ended.stderr.contains(secret) && !ended.stdout.contains(secret),
            "{ended:?}"
        );
    }
    last.to_owned()
}

#[test]
fn an_address_that_cannot_be_used_names_its_variable() {
    for (names, variable, values) in [
        (
            &["pp_backend_api", "task_consumer"][..],
            "PP_DATABASE_URL",
            [
                "mysql://pp:s3cret@127.0.0.1/pp",
                "sqlite://s3cret.sqlite",
                "s3cret",
                "postgres://pp:s3cret@h/d?sslmode=on",
            ],
        ),
        (
            &["task_producer", "task_consumer", "pp_backend_api"][..],
            "PP_BROKER_URL",
            ["redis://pp:s3cret@127.0.0.1", "memory:", "s3cret", "amqps:s3cret"],
        ),
    ] {
        for name in names {
            for value in values {
                let ended = service(name, &[(variable, value)]).run();
                is_told(&ended, variable);
                assert_eq!(ended.code, Some(2), "{ended:?}");
            }
            let missing = is_told(&service(name, &[(variable, "")]).run(), variable);
            assert!(missing.contains("not set"), "{missing}");
        }
    }
}

#[test]
fn a_value_that_cannot_be_used_names_its_variable() {
    for (name, variable, value) in [
        ("pp_backend_api", "PP_GRACE", "5"),
        ("task_consumer", "PP_LEASE", "4"),
        ("task_producer", "PP_STARTUP_TIMEOUT", "60"),
        ("pp_standalone", "PP_PACE", "1"),
        ("pp_backend_api", "PP_MAILBOX", "many"),
        ("task_consumer", "PP_PREFETCH", "0"),
        ("task_consumer", "PP_DISPATCH", "maybe"),
        ("task_consumer", "PP_RETAIN", "90"),
        ("pp_standalone", "PP_RETAIN", "never"),
        ("task_consumer", "PP_PROBE_BIND", "here"),
        ("task_producer", "PP_COUNT", "-1"),
        ("task_producer", "PP_SCHEDULE", "now and then"),
        ("pp_standalone", "PP_API_BIND", "3000"),
        ("pp_backend_api", "PP_LOG_FORMAT", "xml"),
    ] {
        let line = is_told(&service(name, &[(variable, value)]).run(), variable);
        assert!(line.contains(value), "{line}");
    }
}

/// The same code and the same words, whichever program it is.
#[test]
fn a_scheme_that_is_unknown_ends_every_program_alike() {
    const DATABASE: &str = "PP_DATABASE_URL: unknown scheme `mysql`, expected postgres:// or sqlite://";
    const BROKER: &str = "PP_BROKER_URL: unknown scheme `mysql`, expected amqp://, amqps://, database: or memory:";
    const CACHE: &str = "PP_CACHE_URL: unknown scheme `mysql`, expected redis://, rediss:// or memory:";
    let data = tempfile::tempdir().unwrap();
    for (name, args, line) in [
        ("pp_backend_api", "", DATABASE),
        ("task_consumer", "", DATABASE),
        ("pp_standalone", "", DATABASE),
        ("pp_storage", "migrate", DATABASE),
        ("cli_01", "--id 1 --call-type db", DATABASE),
        ("pp_backend_api", "", BROKER),
        ("task_consumer", "", BROKER),
        ("task_producer", "", BROKER),
        ("pp_standalone", "", BROKER),
        ("pp_backend_api", "", CACHE),
        ("pp_standalone", "", CACHE),
    ] {
        let (variable, _) = line.split_once(':').unwrap();
        let value = "mysql://pp:s3cret@127.0.0.1/pp";
        let program = match name {
            "pp_storage" | "cli_01" | "pp_standalone" => Program::new(name)
                .set("PP_DATA_DIR", data.path())
                .set("PP_API_BIND", "127.0.0.1:0")
                .set(variable, value),
            _ => service(name, &[(variable, value)]),
        };
        let ended = program.args(args).run();
        assert_eq!(
            (ended.code, ended.stderr),
            (Some(2), format!("error: {line}\n")),
            "{name}"
        );
    }
}

#[test]
fn an_error_that_ends_a_program_is_json_where_its_log_is() {
    for (name, args, settings, code) in [
        (
            "task_consumer",
            "--log-format json",
            &[("PP_DATABASE_URL", "mysql://h")][..],
            2,
        ),
        ("task_consumer", "--grace 5", &[("PP_LOG_FORMAT", "json")][..], 2),
        ("pp_backend_api", "--log-format=json", &[("PP_LOG", "off")][..], 1),
    ] {
        let ended = service(name, settings).args(args).run();
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let lines: Vec<Value> = ended
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{ended:?}");
        assert!(!last["message"].as_str().unwrap().is_empty(), "{ended:?}");
    }
}

#[test]
fn a_variable_that_nobody_knows_is_a_warning() {
    let settings = [("PP_LEESE", "4s"), ("PP_RABBITMQ_PORT", "1")];
    let ended = service("task_consumer", &settings).run();
    let warnings = crate::quiet_log::warnings(&ended.stderr);
    assert_eq!(warnings.len(), 1, "{ended:?}");
    let expected = "PP_LEESE is not a variable of PP and is ignored; did you mean PP_LEASE?";
    assert!(warnings[0].ends_with(expected), "{ended:?}");
}

#[test]
fn a_start_that_fails_leaves_no_lock_behind() {
    let (_listener, port) = silent();
    let data = tempfile::tempdir().unwrap();
    let program = Program::new("pp_standalone").set("PP_DATA_DIR", data.path());
    let ended = program.set("PP_API_BIND", format!("127.0.0.1:{port}")).run();
    is_told(&ended, "PP_API_BIND");
    let left: Vec<_> = std::fs::read_dir(data.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Rows are what removes duplicates.
#[test]
fn a_retention_of_less_than_a_day_is_refused() {
    for name in ["task_consumer", "pp_standalone"] {
        for value in ["0", "23h 59m"] {
            let line = is_told(&service(name, &[("PP_RETAIN", value)]).run(), "PP_RETAIN");
            assert!(line.contains("at least 1day"), "{line}");
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_waited_for_and_then_named() {
    for (name, variable) in SERVICES
        .into_iter()
        .zip(["PP_DATABASE_URL", "PP_DATABASE_URL", "PP_BROKER_URL"])
    {
        let begun = Instant::now();
        let line = is_told(&service(name, &[]).run(), variable);
        assert!(line.contains("1s"), "{line}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{name} did not wait");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
}

/// Listens like a server that hangs: connections are made and nothing is ever said.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_server_that_says_nothing_is_no_reason_to_hang() {
    let (_listener, port) = silent();
    let database = format!("postgres://pp:s3cret@127.0.0.1:{port}/pp");
    let broker = format!("amqp://pp:s3cret@127.0.0.1:{port}/%2f");
    for (name, variable) in SERVICES
        .into_iter()
        .zip(["PP_DATABASE_URL", "PP_DATABASE_URL", "PP_BROKER_URL"])
    {
        let begun = Instant::now();
        let settings = [("PP_DATABASE_URL", &*database), ("PP_BROKER_URL", &*broker)];
        is_told(&service(name, &settings).run(), variable);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_taken_port_is_named_with_its_variable() {
    let (_listener, port) = silent();
    let taken = format!("127.0.0.1:{port}");
    let data = tempfile::tempdir().unwrap();
    for (name, variable) in [
        ("pp_backend_api", "PP_API_BIND"),
        ("pp_standalone", "PP_API_BIND"),
        ("pp_backend_api", "PP_PROBE_BIND"),
        ("pp_standalone", "PP_PROBE_BIND"),
        ("task_consumer", "PP_PROBE_BIND"),
        ("task_producer", "PP_PROBE_BIND"),
    ] {
        let mut program = service(name, &[(variable, &taken)]);
        if name == "pp_standalone" {
            program = Program::new(name)
                .set("PP_API_BIND", "127.0.0.1:0")
                .set(variable, &taken);
        }
        let line = is_told(&program.set("PP_DATA_DIR", data.path()).run(), variable);
        assert!(line.contains(&taken), "{line}");
    }
}

#[test]
fn a_stop_does_not_wait_for_servers() {
    let (_listener, port) = silent();
    let (hanging_database, hanging_broker) = (
        format!("postgres://pp:s3cret@127.0.0.1:{port}/pp"),
        format!("amqp://pp:s3cret@127.0.0.1:{port}/%2f"),
    );
    for name in SERVICES {
        let refused = service(name, &[("PP_STARTUP_TIMEOUT", "60s")]);
        let hanging = [
            ("PP_DATABASE_URL", &*hanging_database),
            ("PP_BROKER_URL", &*hanging_broker),
        ];
        let hanging = service(name, &[&hanging[..], &[("PP_STARTUP_TIMEOUT", "60s")]].concat());
        for program in [refused, hanging] {
            let mut process = program.start();
            process.says("waiting for");
            let begun = Instant::now();
            let ended = process.terminate();
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{name}: {:?}",
                begun.elapsed()
            );
        }
    }
}

#[test]
fn who_waits_for_servers_is_alive_and_not_ready() {
    for name in ["task_consumer", "task_producer"] {
        let [port] = ports::free().unwrap();
        let pages = Api::at(port);
        let bind = format!("127.0.0.1:{port}");
        let mut process = service(name, &[("PP_PROBE_BIND", &bind), ("PP_STARTUP_TIMEOUT", "60s")]).start();
        process.says("waiting for");
        process.is_seen_to("be alive", |_| {
            pages.try_get("/health/live").is_ok_and(|answer| answer.status == 200)
        });
        let answer = pages.try_get("/health/ready").unwrap();
        assert_eq!(answer.status, 503, "{name}: {answer:?}");
    }
}
