//! What the command line becomes, and what it refuses.

use clap::CommandFactory as _;
use pp_lib::domain::DeadLetterId;
use pp_lib::store::{LetterFilter, Selection};

use super::*;
use crate::commands::{Change, DeadLetters, Followed};

fn resolve(args: &[&str]) -> Result<Settings, Failure> {
    match parse(args)? {
        Request::Ask(settings) => Ok(*settings),
        other => panic!("{args:?}: {other:?}"),
    }
}

fn parse(args: &[&str]) -> Result<Request, Failure> {
    Args::try_parse_from([&["cli_01"], args].concat())
        .expect("clap takes these")
        .resolve()
}

fn usage(args: &[&str]) -> String {
    match resolve(args) {
        Err(Failure::Usage(line)) => line,
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn clap_accepts_the_definition_of_the_flags() {
    Args::command().debug_assert();
}

#[test]
fn the_lookup_needs_exactly_one_of_its_two_flags() {
    assert!(matches!(
        resolve(&["--id", "7"]).unwrap().command,
        Command::Show(Which::Id(WorkId(7)))
    ));
    let listed = resolve(&["--work-code", "api-"]).unwrap().command;
    assert!(matches!(
        listed,
        Command::Search(Search { limit: 1000, .. }, Empty::Failure)
    ));
    for wrong in [&[][..], &["--id", "7", "--work-code", "x"], &["--id", "7", "create"]] {
        let line = usage(wrong);
        assert!(line.contains("--id") && line.contains("--work-code"), "{line}");
    }
    assert!(usage(&["--work-code", &"a".repeat(65)]).contains("64 bytes"));
}

#[test]
fn source_options_may_stand_before_or_after_a_subcommand() {
    for args in [["--call-type", "db", "create"], ["create", "--call-type", "db"]] {
        assert!(matches!(resolve(&args).unwrap().source, Source::Db(_)), "{args:?}");
    }
    let settings = resolve(&[
        "events",
        "--id",
        "3",
        "--database-timeout",
        "7s",
        "--output",
        "json",
        "--call-type",
        "db",
    ]);
    let settings = settings.unwrap();
    assert_eq!(settings.output, Output::Json);
    assert!(matches!(settings.source, Source::Db(args) if args.timeout == Duration::from_secs(7)));
}

#[test]
fn status_and_done_agree_or_are_refused() {
    let found = |args: &[&str]| match resolve(&[&["search"], args].concat()).unwrap().command {
        Command::Search(search, _) => search.status,
        other => panic!("{other:?}"),
    };
    assert_eq!(found(&["--done", "false"]), Some((Status::Done, false)));
    assert_eq!(
        found(&["--done", "false", "--status", "failed"]),
        Some((Status::Failed, true))
    );
    assert_eq!(
        found(&["--done", "true", "--status", "done"]),
        Some((Status::Done, true))
    );
    for wrong in [["true", "failed"], ["false", "done"]] {
        let line = usage(&["search", "--done", wrong[0], "--status", wrong[1]]);
        assert!(line.contains("contradict"), "{line}");
    }
}

#[test]
fn watch_follows_one_work_or_a_search_and_refuses_a_database() {
    let watched = |args: &[&str]| match resolve(&[&["watch"], args].concat()).unwrap().command {
        Command::Watch(watch) => watch.what,
        other => panic!("{other:?}"),
    };
    assert_eq!(watched(&["--id", "7", "--pace", "5ms"]), Followed::One(WorkId(7)));
    let all = Followed::All {
        work_code: WorkCodePrefix::parse("api-"),
        kind: Some("user.welcome".parse().unwrap()),
        status: Some(Status::Failed),
    };
    let args = ["--work-code", "api-", "--kind", "user.welcome", "--status", "failed"];
    assert_eq!(watched(&args), all);
    assert_eq!(usage(&["watch", "--call-type", "db"]), ONLY_HTTP);
}

#[test]
fn letters_are_selected_by_number_by_kind_and_error_or_all_together() {
    let chosen = |args: &[&str]| match resolve(&[&["deadletter"], args].concat()).unwrap().command {
        Command::DeadLetters(what) => what,
        other => panic!("{other:?}"),
    };
    let ids = |ids: &[i64]| Selection::Ids(ids.iter().copied().map(DeadLetterId).collect());
    for args in [
        &["redrive", "--id", "1", "2"][..],
        &["redrive", "--id", "1,2"],
        &["redrive", "--id", "1", "--id", "2"],
    ] {
        let which = ids(&[1, 2]);
        let expected = DeadLetters::Redrive(Change { which, dry_run: false });
        assert_eq!(chosen(args), expected, "{args:?}");
    }
    let (which, dry_run) = (Selection::ALL, true);
    assert_eq!(
        chosen(&["drop", "--all", "--dry-run"]),
        DeadLetters::Drop(Change { which, dry_run })
    );
    let (kind, error) = (Some("user.welcome".parse().unwrap()), Some("no address".to_owned()));
    let filter = LetterFilter { kind, error };
    let (before, limit) = (None, 50);
    let narrowed = ["--kind", "user.welcome", "--error", "no address"];
    assert_eq!(
        chosen(&[&["redrive"], &narrowed[..]].concat()),
        DeadLetters::Redrive(Change {
            which: Selection::Matching(filter.clone()),
            dry_run: false
        })
    );
    assert_eq!(
        chosen(&[&["list"], &narrowed[..]].concat()),
        DeadLetters::List { filter, before, limit }
    );
    let many = vec!["1"; 1001].join(",");
    assert!(usage(&["deadletter", "drop", "--id", &many]).contains("1000"));
}

#[test]
fn a_value_out_of_bounds_is_refused() {
    for bad in [
        &["--id", "x"][..],
        &["--id", "99999999999999999999"],
        &["--id", "1", "--timeout", "5"],
        &["--id", "1", "--timeout", "0"],
        &["--id", "1", "--timeout", "2h"],
        &["--id", "1", "--call-type", "ftp"],
        &["search", "--limit", "0"],
        &["search", "--limit", "1001"],
        &["search", "--since", "-1"],
        &["search", "--status", "lost"],
        &["create", "--add-up-to", "0"],
        &["create", "--add-up-to", "-5"],
        &["create", "--add-up-to", "2147483648"],
        &["create", "--run-at", "-1"],
        &["create", "--run-at", "4000000000"],
        &["events"],
        &["update", "--id", "1"],
        &["delete"],
        &["deadletter"],
        &["deadletter", "list", "--limit", "1001"],
        &["deadletter", "redrive"],
        &["deadletter", "redrive", "--id", "1", "--all"],
        &["deadletter", "redrive", "--dry-run"],
        &["deadletter", "redrive", "--id", "1", "--kind", "a"],
        &["deadletter", "drop", "--all", "--error", "a"],
        &["deadletter", "drop", "--error", ""],
        &["deadletter", "list", "--kind", "A"],
        &["deadletter", "drop", "--id", "0"],
        &["search", "--kind", "no kind"],
        &["stats", "--kind", ""],
        &["watch", "--id", "1", "--status", "done"],
        &["watch", "--id", "1", "--work-code", "api-"],
        &["watch", "--id", "1", "--kind", "a"],
        &["watch", "--status", "lost"],
        &["watch", "--id", "1", "--pace", "5"],
    ] {
        assert!(Args::try_parse_from([&["cli_01"], bad].concat()).is_err(), "{bad:?}");
    }
}

#[test]
fn every_command_is_in_one_group_of_the_help() {
    let command = Args::command();
    let mut commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let grouped = groups::GROUPS.iter().flat_map(|(_, names)| names.iter().copied());
    let mut in_help: Vec<&str> = grouped.chain(groups::EARLIER).collect();
    commands.sort_unstable();
    in_help.sort_unstable();
    assert_eq!(commands, in_help);
}

/// The examples in the help of a command and of those below it.
fn examples(command: &clap::Command) -> Vec<String> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let own = text
        .lines()
        .filter_map(|line| line.strip_prefix("  cli_01 ").map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(examples)).collect()
}

#[test]
fn every_example_of_the_help_is_a_command_line() {
    let examples = examples(&Args::command());
    assert!(examples.len() > 20, "{examples:?}");
    for example in examples {
        let line = example.split(['|', '>']).next().unwrap();
        // Quotes stand around whole words.
        let mut words = Vec::new();
        for (place, part) in line.split('\'').enumerate() {
            match place % 2 {
                0 => words.extend(part.split_whitespace()),
                _ => words.push(part),
            }
        }
        let parsed = Args::try_parse_from([&["cli_01"], &words[..]].concat());
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
}

#[test]
fn the_new_forms_take_ids_and_codes() {
    let code = "api-bjq8euwsEA";
    for (given, which) in [("7", Which::Id(WorkId(7))), (code, Which::Code(code.parse().unwrap()))] {
        let shown = resolve(&["work", "show", given]).unwrap().command;
        assert!(matches!(shown, Command::Show(found) if found == which));
    }
    let listed = resolve(&["work", "list", "--limit", "5"]).unwrap().command;
    assert!(matches!(listed, Command::Search(Search { limit: 5, .. }, Empty::Fine)));
    assert_eq!(resolve(&["work", "list", "--json"]).unwrap().output, Output::Json);
    for bad in [
        &["work"][..],
        &["work", "show"],
        &["work", "show", "seven"],
        &["work", "show", "1", "2"],
        &["work", "update", "1"],
        &["work", "create", "--run-at", "soon"],
        &["work", "search", "--json", "--output", "table"],
        &["completions"],
        &["completions", "sh"],
        &["man", "--folder", "x", "work"],
        &["doctor", "--broker-url"],
    ] {
        assert!(Args::try_parse_from([&["cli_01"], bad].concat()).is_err(), "{bad:?}");
    }
}

#[test]
fn the_doctor_asks_the_servers_that_are_named() {
    let doctor = |args: &[&str]| match parse(&[&["doctor"], args].concat()) {
        Ok(Request::Doctor(doctor)) => *doctor,
        other => panic!("{args:?}: {other:?}"),
    };
    let all = doctor(&[
        "--database-url",
        "postgres://h/d",
        "--broker-url",
        "amqp://h",
        "--cache-url",
        "redis://h",
    ]);
    assert!(all.api.is_some() && all.database.is_some() && all.broker.is_some());
    let alone = doctor(&["--call-type", "db"]);
    assert!(alone.api.is_none() && alone.database.is_some() && alone.broker.is_none());
    assert!(doctor(&[]).database.is_none());
    for (wrong, variable) in [
        (["--broker-url", "redis://h"], "PP_BROKER_URL"),
        (["--cache-url", "amqp://h"], "PP_CACHE_URL"),
        (["--database-url", "mysql://h"], "PP_DATABASE_URL"),
    ] {
        match parse(&[&["doctor"], &wrong[..]].concat()) {
            Err(Failure::Usage(line)) => assert!(line.starts_with(variable), "{line}"),
            other => panic!("{wrong:?}: {other:?}"),
        }
    }
}
