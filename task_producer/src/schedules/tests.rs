//! Several schedules in one process, and demands of other kinds than sums.

use std::collections::BTreeSet;
use std::io::Write as _;

use clap::Parser as _;
use pp_lib::broker::Queue;
use pp_lib::domain::{AddUpTo, Json};
use tempfile::NamedTempFile;

use crate::slots::Slot;
use crate::{Args, Mode, ProducerConfig, demands};

fn configs(args: &[&str]) -> Result<Vec<ProducerConfig>, String> {
    let args = Args::try_parse_from([&["task_producer"], args].concat()).map_err(|error| error.to_string())?;
    args.configs().map_err(|error| error.to_string())
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The configurations of a file with this text.
fn of_file(text: &str) -> Result<Vec<ProducerConfig>, String> {
    let file = file(text);
    configs(&["--schedule-file", file.path().to_str().unwrap()])
}

/// The ids of the demands in the first slot of 2026.
fn ids(config: &ProducerConfig) -> Vec<String> {
    let Mode::Scheduled(schedule) = &config.mode else {
        panic!("{:?}", config.mode);
    };
    let slot: Slot = schedule.next_after("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    let demands = demands::of_slot(config, schedule, slot);
    demands.map(|demand| demand.message_id.to_string()).collect()
}

fn args_of(config: &ProducerConfig) -> Option<&str> {
    config.args.as_ref().map(Json::as_str)
}

#[test]
fn without_a_kind_demands_are_sums_under_the_ids_of_the_first_release() {
    for args in [&["--add-up-to", "5"][..], &[]] {
        let config = configs(args).unwrap().remove(0);
        assert!(config.kind.is_add_up_to());
        assert_eq!(ids(&config), ["fbdfed8e-5f56-55ed-b836-8db4064f61e4"]);
    }
    let [one] = &of_file(r#"[{"schedule":"1/4 * * * * *"}]"#).unwrap()[..] else {
        panic!("one schedule");
    };
    assert_eq!((args_of(one), one.count, one.catch_up), (None, 1, 0));
    assert_eq!(ids(one), ids(&configs(&[]).unwrap()[0]));
}

#[test]
fn arguments_are_given_as_json_or_in_a_file() {
    let given = |args: &[&str]| configs(args).map(|mut configs| configs.remove(0));
    let mail = given(&["--kind", "mail", "--args", r#" {"b":1.10,"a":[]} "#]).unwrap();
    assert_eq!(
        (mail.kind.as_str(), args_of(&mail)),
        ("mail", Some(r#"{"b":1.10,"a":[]}"#))
    );
    let text = file("{\"user\":7}\n");
    let name = format!("@{}", text.path().display());
    let mail = given(&["--kind", "mail", "--args", &name, "--once"]).unwrap();
    assert_eq!(args_of(&mail), Some(r#"{"user":7}"#));
    let demand = demands::fresh(&mail).next().unwrap();
    assert_eq!((demand.kind.as_str(), demand.args.as_str()), ("mail", r#"{"user":7}"#));
    let sum = given(&["--args", r#"{ "add_up_to": 5 }"#]).unwrap();
    assert_eq!(sum.args, Some("5".parse::<AddUpTo>().unwrap().args()));

    let large = file(&format!("\"{}\"", "x".repeat(64 << 10)));
    let large = format!("@{}", large.path().display());
    for (args, why) in [
        (&["--args", "{"][..], "PP_ARGS: EOF while parsing"),
        (
            &["--args", r#"{"a":{"b":["\u0000"]}}"#],
            "PP_ARGS: a text contains the character U+0000 at /a/b/0",
        ),
        (&["--args", "[5]"], "PP_ARGS: an array, expected an object"),
        (&["--args", r#"{"add_up_to":0}"#], "PP_ARGS: invalid value: integer `0`"),
        (
            &["--args", "@/nowhere/at/all"],
            "PP_ARGS: the file /nowhere/at/all cannot be read",
        ),
        (&["--kind", "mail", "--args", &large], "has more than 65536 bytes"),
        (
            &["--kind", "mail"],
            "PP_ARGS: no arguments, which the kind `mail` needs",
        ),
        (
            &["--kind", "mail", "--add-up-to", "5"],
            "PP_ADD_UP_TO: only sums have a bound, and PP_KIND is `mail`",
        ),
        (
            &["--args", r#"{"add_up_to":5}"#, "--add-up-to", "5"],
            "PP_ADD_UP_TO: PP_ARGS has the arguments",
        ),
        (&["--kind", "Mail"], "a kind's name is words of"),
        (
            &["--kind-queue", "a"],
            "PP_KIND_QUEUE: queue: PP_DEMAND_QUEUE names the queue of sums",
        ),
        (
            &["--kind", "mail", "--args", "1", "--kind-queue", "\n"],
            "PP_KIND_QUEUE: queue: expected a name of 1 to 255 bytes",
        ),
    ] {
        let error = given(args).unwrap_err();
        assert!(error.contains(why), "{args:?}: {error}");
    }
}

#[test]
fn each_schedule_of_a_file_has_its_own_demands() {
    let configs = of_file(
        r#"[
            {"schedule":"0 3 * * *","count":2},
            {"schedule":"0 3 * * *","kind":"mail","args":{"user":7},"time_zone":"UTC","catch_up":5},
            {"schedule":"0 3 * * *","kind":"mail","args":{"user":8}},
            {"schedule":"0 3 * * *","kind":"mail","args":null,"count":3},
            {"schedule":"0 3 * * *","args":{"add_up_to":5}},
            {"schedule":"0 3 * * *","time_zone":"Europe/Berlin","kind":"mail","args":{"user":7}}
        ]"#,
    )
    .unwrap();
    let all: Vec<String> = configs.iter().flat_map(ids).collect();
    assert_eq!(all.len(), 2 + 1 + 1 + 3 + 1 + 1);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!((configs[1].kind.as_str(), configs[1].catch_up), ("mail", 5));
    assert_eq!(args_of(&configs[3]), Some("null"));
    assert_eq!(args_of(&configs[4]), Some(r#"{"add_up_to":5}"#));
    let flags = ["--schedule", "0 3 * * *", "--kind", "mail", "--args", r#"{"user":7}"#];
    assert_eq!(
        ids(&configs[1]),
        ids(&self::configs(&flags).unwrap()[0]),
        "flags make the same"
    );
}

#[test]
fn a_wrong_file_names_its_entry() {
    let many = format!("[{}]", vec![r#"{"schedule":"0 3 * * *"}"#; 101].join(","));
    for (text, why) in [
        ("", "PP_SCHEDULE_FILE: EOF while parsing"),
        ("{}", "PP_SCHEDULE_FILE: expected an array of schedules"),
        ("[]", "PP_SCHEDULE_FILE: expected 1 to 100 schedules, found 0"),
        (&many, "PP_SCHEDULE_FILE: expected 1 to 100 schedules, found 101"),
        (r#"[["0 3 * * *"]]"#, "PP_SCHEDULE_FILE: entry 0: expected an object"),
        (r#"[{}]"#, "PP_SCHEDULE_FILE: entry 0: missing field `schedule`"),
        (
            r#"[{"schedule":"0 3 * * *","zone":"UTC"}]"#,
            "PP_SCHEDULE_FILE: entry 0: unknown field `zone`",
        ),
        (
            r#"[{"schedule":"0 3 * * *","count":0}]"#,
            "PP_SCHEDULE_FILE: entry 0: count must be 1 to 100000",
        ),
        (
            r#"[{"schedule":"0 3 * * *","catch_up":100001}]"#,
            "entry 0: catch_up must be 0 to 100000",
        ),
        (
            r#"[{"schedule":"0 3 * * *","kind":"mail"}]"#,
            "entry 0: no arguments, which the kind `mail` needs",
        ),
        (
            r#"[{"schedule":"0 3 * * *","args":{"add_up_to":0}}]"#,
            "entry 0: invalid value: integer `0`",
        ),
        (
            r#"[{"schedule":"0 3 * * *"},{"schedule":"61 * * * *"}]"#,
            "entry 1: `61 * * * *` is not a schedule",
        ),
        (
            r#"[{"schedule":"0 3 * * *","time_zone":"Mars"}]"#,
            "entry 0: `Mars` is not an IANA time zone",
        ),
        (
            r#"[{"schedule":"0 3 * * *"},{"schedule":"0  3 * * *","count":2}]"#,
            "entry 1: the same as entry 0",
        ),
        (
            r#"[{"schedule":"0 3 * * *","queue":"sums"}]"#,
            "entry 0: queue: PP_DEMAND_QUEUE names the queue of sums",
        ),
        (
            r#"[{"schedule":"0 3 * * *","kind":"mail","args":1,"queue":"amq.x"}]"#,
            "entry 0: queue: expected a name of 1 to 255 bytes",
        ),
        (
            r#"[{"schedule":"0 3 * * *","kind":"mail","args":1,"queue":"pp.work.sms.demand"}]"#,
            "entry 0: queue: names that begin with `pp.work.`",
        ),
        (
            r#"[{"schedule":"0 3 * * *","kind":"mail","args":1,"queue":"a"},
                {"schedule":"0 3 * * *","kind":"sms","args":1,"queue":"a"}]"#,
            "entry 1: queue: `a` for sms, but `a` for mail",
        ),
        (
            r#"[{"schedule":"0 3 * * *","kind":"mail","args":1,"queue":"a"},
                {"schedule":"0 3 * * *","kind":"mail","args":2}]"#,
            "entry 1: queue: missing, and another entry of mail has one",
        ),
        (
            r#"[{"schedule":"0 3 * * *","args":{"a":1,"a":2}}]"#,
            "two members of an object have one name at /0/args/a",
        ),
    ] {
        let error = of_file(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(
        configs(&["--schedule-file", "/nowhere/at/all"])
            .unwrap_err()
            .contains("cannot be read")
    );
    for other in [
        ["--once", ""],
        ["--rate", "5"],
        ["--schedule", "* * * * *"],
        ["--kind", "mail"],
        ["--kind-queue", "a"],
    ] {
        let flags: Vec<&str> = other.into_iter().filter(|flag| !flag.is_empty()).collect();
        let error = configs(&[&["--schedule-file", "x"], &flags[..]].concat()).unwrap_err();
        assert!(error.contains("cannot be used with"), "{error}");
    }
}

#[test]
fn demands_of_a_kind_go_to_the_queue_that_is_given() {
    let queue_of = |args: &[&str]| {
        let args = Args::try_parse_from([&["task_producer"], args].concat()).unwrap();
        let configs = args.configs().unwrap();
        let names = args.broker(&configs).unwrap().queue_names();
        names.get(&Queue::Demand("mail".parse().unwrap()))
    };
    let mail = ["--kind", "mail", "--args", "{}"];
    assert_eq!(queue_of(&mail), "pp.work.mail.demand");
    let named = [&mail[..], &["--kind-queue", "user.mail"]].concat();
    assert_eq!(queue_of(&named), "user.mail");
    assert_eq!(ids(&configs(&named).unwrap()[0]), ids(&configs(&mail).unwrap()[0]));
    let several = file(
        r#"[
            {"schedule":"0 3 * * *","kind":"mail","args":{},"queue":"user.mail"},
            {"schedule":"0 4 * * *","kind":"mail","args":{},"queue":"user.mail"},
            {"schedule":"0 3 * * *"}
        ]"#,
    );
    assert_eq!(
        queue_of(&["--schedule-file", several.path().to_str().unwrap()]),
        "user.mail"
    );
}
