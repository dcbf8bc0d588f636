//! The program when it cannot start: one error line and an exit code.

use std::net::TcpListener;
use std::process::{Command, Output};

/// The address of no broker. The program starts without one.
const BROKER: (&str, &str) = ("PP_BROKER_URL", "amqp://127.0.0.1:1");

/// Runs the program to its end with only these variables of PP.
fn run(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pp_backend_api"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PP_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn a_wrong_setting_is_one_line_that_names_the_variable() {
    let free = ("PP_API_BIND", "127.0.0.1:0");
    for (variable, value) in [
        ("PP_MAILBOX", "many"),
        ("PP_STORE_BATCH", "0"),
        ("PP_BODY_LIMIT", "big"),
        ("PP_REQUEST_TIMEOUT", "10"),
        ("PP_API_BIND", "nowhere"),
        ("PP_DATABASE_URL", "mysql://user:hunter2@host/database"),
        ("PP_DATABASE_URL", "sqlite://x.sqlite"),
        ("PP_DATABASE_URL", ""),
        ("PP_DATABASE_TIMEOUT", "5"),
        ("PP_BROKER_URL", "memory:"),
        ("PP_BROKER_URL", "redis://user:hunter2@host"),
    ] {
        let database = ("PP_DATABASE_URL", "postgres://127.0.0.1:1/none");
        let output = run(&[free, database, BROKER, (variable, value)]);
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{variable}={value}: {line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        assert!(
            line.contains(variable) && !line.contains("hunter2"),
            "{variable}={value}: {line}"
        );
    }
    let line = String::from_utf8(run(&[free]).stderr).unwrap();
    assert!(line.contains("PP_DATABASE_URL"), "{line}");
}

#[test]
fn a_taken_port_is_one_line_with_the_port_and_the_variable() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&[
        ("PP_API_BIND", &address),
        ("PP_DATABASE_URL", "postgres://127.0.0.1:1/none"),
    ]);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    assert!(
        line.contains(&taken.local_addr().unwrap().port().to_string()) && line.contains("PP_API_BIND"),
        "{line}"
    );
}

#[test]
fn an_unreachable_server_is_waited_for_and_then_named() {
    let output = run(&[
        BROKER,
        ("PP_API_BIND", "127.0.0.1:0"),
        ("PP_DATABASE_URL", "postgres://user:hunter2@127.0.0.1:1/none"),
        ("PP_STARTUP_TIMEOUT", "500ms"),
        ("PP_LOG", "error"),
    ]);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    assert!(line.contains("PP_DATABASE_URL") && !line.contains("hunter2"), "{line}");
}
