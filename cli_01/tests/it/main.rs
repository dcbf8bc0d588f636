//! The program as a user runs it: flags in; output, error lines and exit codes out.
//!
//! `by_kind`, `dead_letters` and `stats` test their commands and flags with both sources. `embedded` uses a SQLite file,
//! `http` and `watch` use a server that gives prepared answers, including wrong ones. `nested` compares the forms of `work`
//! with the earlier ones.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as the tests do: a panic is the report"
)]

mod by_kind;
mod dead_letters;
mod embedded;
mod help;
mod http;
mod kinds;
mod nested;
mod stats;
mod watch;
mod workers;

use std::path::Path;

use pp_testkit::cli::{Called, PATIENCE};

/// The program in a folder, with only these settings.
fn command(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> assert_cmd::Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("cli_01");
    command.env_clear().envs(variables.iter().copied()).current_dir(folder);
    command.args(args).timeout(PATIENCE);
    command
}

fn call(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Called {
    command(folder, args, variables).output().unwrap().into()
}

#[test]
fn an_invalid_command_line_is_one_line_and_code_2() {
    let here = Path::new(".");
    let both_or_neither = [
        (vec![], "give --id, --work-code or a subcommand; see --help"),
        (
            vec!["--id", "1", "--work-code", "api-"],
            "--id and --work-code exclude each other; give one",
        ),
        (
            vec!["--id", "1", "events", "--id", "1"],
            "write --id and --work-code after the subcommand",
        ),
    ];
    for (args, line) in both_or_neither {
        call(here, &args, &[]).failed(2, line);
    }
    let follows = "watch needs the API; use --call-type http";
    call(here, &["watch", "--call-type", "db"], &[]).failed(2, follows);
    call(here, &["--id", "one"], &[]).failed(2, "invalid value 'one' for '--id <N>': invalid digit found in string");
    call(here, &["--id", "1", "--timeout", "5"], &[]).failed(
        2,
        "invalid value '5' for '--timeout <DURATION>': a duration needs a unit, as in `5s` or `5ms`",
    );
    call(here, &["--id", "1"], &[("PP_API_URL", "redis://127.0.0.1")]).failed(
        2,
        "PP_API_URL: not a URL with the scheme http or https, expected http://host:port or https://",
    );
    let secret = [("PP_DATABASE_URL", "mysql://u:hunter2@h/d")];
    call(here, &["--id", "1", "--call-type", "db"], &secret).failed(
        2,
        "PP_DATABASE_URL: unknown scheme `mysql`, expected postgres:// or sqlite://",
    );
    let pool = [("PP_DATABASE_POOL", "many")];
    call(here, &["--id", "1"], &pool).failed(
        2,
        "PP_DATABASE_POOL: invalid value 'many' for '--database-pool <COUNT>': expected a whole number from 1 to 200",
    );
}

#[test]
fn help_shows_defaults_variables_and_units_but_no_secrets() {
    let secret = [("PP_DATABASE_URL", "postgres://u:hunter2@h/d")];
    let help = call(Path::new("."), &["--help"], &secret).done();
    for wanted in [
        "PP_API_URL",
        "http://127.0.0.1:3000",
        "PP_DATABASE_URL",
        "[default: 5s]",
        "[unit: duration",
        "Exit codes:",
        "create",
        "search",
        "events",
        "cancel",
        "retry",
        "watch",
        "stats",
        "deadletter",
    ] {
        assert!(help.contains(wanted), "{wanted} in {help}");
    }
    assert!(!help.contains("hunter2"), "{help}");
}
