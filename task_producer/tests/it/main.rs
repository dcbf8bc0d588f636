//! The service as an operator runs it: an invalid setting is one line that names the variable, and an exit code.
//!
//! Unit tests on paused time cover publishing.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

use std::time::Duration;

/// The exit code and standard error of a start with only these settings.
fn start(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("task_producer");
    command
        .env_clear()
        .env("PP_PROBE_BIND", "off")
        .envs(variables.iter().copied());
    let output = command.args(args).timeout(Duration::from_secs(30)).output().unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_invalid_setting_is_one_line_with_its_variable() {
    for (variable, value, why) in [
        ("PP_SCHEDULE", "61 * * * * *", "`61 * * * * *` is not a schedule"),
        ("PP_SCHEDULE", "0 0 0 31 2 *", "`0 0 0 31 2 *` never ticks"),
        ("PP_TIME_ZONE", "Mars/Base", "`Mars/Base` is not an IANA time zone"),
        ("PP_COUNT", "0", "expected a whole number from 1 to 100000"),
        ("PP_CATCH_UP", "100001", "expected a whole number from 0 to 100000"),
        (
            "PP_ADD_UP_TO",
            "-1",
            "add_up_to must be a whole number from 1 to 2147483647",
        ),
        ("PP_BROKER_URL", "memory:", "works within one process"),
        ("PP_BROKER_URL", "redis://u:hunter2@h", "unknown scheme `redis`"),
        ("PP_PROBE_BIND", "nowhere", "expected a host and a port"),
        ("PP_GRACE", "5", "a duration needs a unit"),
    ] {
        let (code, line) = start(&[], &[(variable, value)]);
        assert!(matches!(code, Some(1 | 2)), "{code:?} {line}");
        assert!(line.contains(&format!("{variable}: ")) && line.contains(why), "{line}");
        assert!(line.lines().count() == 1 && !line.contains("hunter2"), "{line}");
    }
    let (code, line) = start(&[], &[]);
    assert_eq!(code, Some(2));
    assert!(line.contains("PP_BROKER_URL: not set"), "{line}");
}

#[test]
fn conflicting_flags_are_a_usage_error() {
    let (code, line) = start(&["--once", "--rate", "5"], &[]);
    assert_eq!(code, Some(2));
    assert_eq!(line, "error: the argument '--once' cannot be used with '--rate <N>'\n");
}

#[test]
fn the_wait_for_a_broker_ends_after_the_timeout() {
    // No server listens at port 1.
    let variables = [
        ("PP_BROKER_URL", "amqp://u:hunter2@127.0.0.1:1"),
        ("PP_STARTUP_TIMEOUT", "300ms"),
    ];
    let (code, lines) = start(&["--once"], &variables);
    assert_eq!(code, Some(1));
    let last = lines.lines().last().unwrap();
    assert!(
        last.contains("PP_BROKER_URL: RabbitMQ could not be reached within 300ms"),
        "{lines}"
    );
    assert!(!lines.contains("hunter2"), "{lines}");
}
