//! What a user sees before anything is asked: help, suggestions, completions, manual pages and colours.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pp_testkit::cli::{Called, PreparedServer};

use crate::embedded::prepared;
use crate::{PATIENCE, call};

fn run(args: &[&str]) -> Called {
    call(Path::new("."), args, &[])
}

#[test]
fn the_help_shows_commands_in_groups_and_examples() {
    let help = run(&["--help"]).done();
    assert_eq!(help, include_str!("help.txt"));
    assert_eq!(run(&["-h"]).done(), help);
}

#[test]
fn the_help_of_a_command_has_its_examples() {
    for (args, wanted) in [
        (&["work", "create", "-h"][..], "--run-at +1h"),
        (&["work", "search", "-h"], "--since -1d"),
        (&["kind", "-h"], "cli_01 kind pause user.mail"),
        (&["key", "-h"], "cli_01 key revoke 3"),
        (&["deadletter", "-h"], "--dry-run"),
        (&["watch", "-h"], "cli_01 watch --id 7"),
        (&["doctor", "-h"], "all is well"),
        (&["completions", "-h"], "cli_01 completions bash"),
    ] {
        let help = run(args).done();
        assert!(help.contains(wanted), "{args:?}: {help}");
        // What is rare is in the long help alone.
        assert!(!help.contains("PP_DATABASE_POOL"), "{args:?}: {help}");
        let long = run(&[&args[..args.len() - 1], &["--help"]].concat()).done();
        assert!(long.contains("PP_DATABASE_POOL"), "{args:?}: {long}");
    }
}

#[test]
fn a_mistyped_word_gets_the_nearest_one() {
    for (args, line) in [
        (
            &["serch"][..],
            "unrecognized subcommand 'serch'; did you mean `search`?",
        ),
        (
            &["work", "cancle", "1"],
            "unrecognized subcommand 'cancle'; did you mean `cancel`?",
        ),
        (
            &["--outptu", "json"],
            "unexpected argument '--outptu' found; did you mean `--output`?",
        ),
        (
            &["--id", "1", "--output", "jsn"],
            "invalid value 'jsn' for '--output <OUTPUT>' [possible values: table, json]; did you mean `json`?",
        ),
        (
            &["worker"],
            "'cli_01 worker' requires a subcommand but one was not provided [subcommands: list, help]",
        ),
    ] {
        run(args).failed(2, line);
    }
}

#[test]
fn every_shell_gets_completions() {
    for (shell, words) in [
        ("bash", "complete -F _cli_01"),
        ("zsh", "#compdef cli_01"),
        ("fish", "complete -c cli_01"),
    ] {
        let script = run(&["completions", shell]).done();
        for wanted in [words, "deadletter", "doctor", "call-type", "run-at"] {
            assert!(script.contains(wanted), "{wanted} for {shell}");
        }
    }
    // The script is one of the shell, and completes.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("script"), run(&["completions", "bash"]).done()).unwrap();
    let asked =
        "source ./script; COMP_WORDS=(cli_01 work sh); COMP_CWORD=2; _cli_01 cli_01 sh work; echo ${COMPREPLY[@]}";
    let completed = Command::new("bash")
        .args(["--norc", "-c", asked])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "show\n", "{completed:?}");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let page = run(&["man"]).done();
    assert!(page.contains(".TH cli_01 1") && page.contains("PP_API_URL"), "{page}");
    let page = run(&["man", "work", "create"]).done();
    assert!(
        page.contains("cli_01\\-work\\-create") && page.contains("run\\-at"),
        "{page}"
    );
    run(&["man", "wrok"]).failed(1, "there is no command wrok");
    let folder = tempfile::tempdir().unwrap();
    let called = call(folder.path(), &["man", "--folder", "man1"], &[]);
    assert_eq!(called.done(), "");
    let pages: Vec<String> = std::fs::read_dir(folder.path().join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for wanted in [
        "cli_01.1",
        "cli_01-work-create.1",
        "cli_01-doctor.1",
        "cli_01-kind-set.1",
    ] {
        assert!(pages.iter().any(|page| page == wanted), "{wanted} in {pages:?}");
    }
}

/// The output on a terminal, which `script` gives the program.
fn on_a_terminal(folder: &Path, args: &str, variables: &[(&str, &str)]) -> String {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_cli_01"));
    let output = assert_cmd::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .current_dir(folder)
        .timeout(PATIENCE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_call_that_lasts_shows_a_line_on_a_terminal_alone() {
    let slow = || {
        PreparedServer::start(|mut stream| {
            // Longer than a call may last without a word.
            std::thread::sleep(Duration::from_millis(900));
            let body = "{\"dropped\":3}";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).unwrap();
        })
    };
    let here = Path::new(".");
    let server = slow();
    let url = format!("http://{}", server.address);
    let shown = on_a_terminal(here, "deadletter drop --all", &[("PP_API_URL", &url)]);
    assert!(shown.contains("dropping dead letters"), "{shown:?}");
    assert!(shown.trim_end().ends_with("dropped: 3"), "{shown:?}");
    let server = slow();
    let url = format!("http://{}", server.address);
    let piped = call(here, &["deadletter", "drop", "--all"], &[("PP_API_URL", &url)]);
    assert_eq!(piped.done(), "dropped: 3\n");
}

#[test]
fn colours_are_for_terminals_alone() {
    let folder = prepared();
    let on_a_terminal =
        |variables: &[(&str, &str)]| on_a_terminal(folder.path(), "work search --call-type db", variables);
    let coloured = on_a_terminal(&[]);
    let done = coloured.lines().find(|line| line.contains("done")).unwrap();
    assert!(done.contains("\x1b[38;5;2mdone"), "{coloured:?}");
    for plain in [on_a_terminal(&[("NO_COLOR", "1")]), on_a_terminal(&[("TERM", "dumb")])] {
        assert!(plain.contains("done") && !plain.contains('\x1b'), "{plain:?}");
    }
    let piped = call(
        folder.path(),
        &["work", "search", "--call-type", "db"],
        &[("TERM", "xterm")],
    )
    .done();
    assert!(piped.contains("done") && !piped.contains('\x1b'), "{piped:?}");
}
