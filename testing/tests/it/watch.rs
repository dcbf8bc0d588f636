//! `cli_01 watch` beside a whole system, which goes away and comes back.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{Process, Program};
use crate::standalone::Home;

fn cli(home: &Home, arguments: &str) -> Program {
    let url = format!("http://127.0.0.1:{}", home.api.port);
    Program::new("cli_01").set("PP_API_URL", url).args(arguments)
}

/// The lines that it printed so far; one that is being written is not among them.
fn lines(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn prints(process: &mut Process, count: usize) {
    process.is_seen_to(&format!("print {count} lines"), |process| {
        lines(&process.stdout()).len() >= count
    });
}

#[test]
fn a_paced_work_is_watched_from_its_middle_to_its_result() {
    let home = Home::new();
    let process = home.start_with(&[("PP_PACE", "20ms")]);
    let id = home.api.post(r#"{"add_up_to":50}"#)["id"].clone();
    let watched = cli(&home, &format!("watch --id {id} --output json --pace 20ms")).run();
    assert_eq!((watched.code, watched.stderr.as_str()), (Some(0), ""), "{watched:?}");
    let lines = lines(&watched.stdout);
    assert_eq!((&lines[0]["id"], &lines[0]["add_up_to"]), (&id, &50.into()));
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["variable"], &last["value"], &last["status"]),
        (&"compute/result".into(), &"1275".into(), &"done".into())
    );
    // What is done already is no reason to wait.
    let again = cli(&home, &format!("watch --id {id}")).run();
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn a_work_that_is_deleted_ends_its_watch() {
    let home = Home::new();
    let _process = home.start_with(&[("PP_PACE", "10s")]);
    let id = home.api.post(r#"{"add_up_to":50}"#)["id"].clone();
    let mut watch = cli(&home, &format!("watch --id {id} --output json")).start();
    prints(&mut watch, 1);
    let deleted = cli(&home, &format!("delete --id {id}")).run();
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    let ended = watch.ends();
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(1), "error: the work was cancelled or deleted\n"),
        "{ended:?}"
    );
    let gone = cli(&home, &format!("watch --id {id}")).run();
    assert_eq!(gone.code, Some(1), "{gone:?}");
}

#[test]
fn a_watch_goes_on_when_the_api_is_back_and_misses_nothing() {
    let home = Home::new();
    let nobody = cli(&home, "watch").run();
    assert_eq!((nobody.code, nobody.stderr.lines().count()), (Some(3), 1), "{nobody:?}");
    let mut process = home.start();
    let mut watch = cli(&home, "watch --work-code api- --output json").start();
    // It is there as soon as a new work shows up.
    watch.is_seen_to("be there", |watch| {
        home.api.post("{}");
        !watch.stdout().is_empty()
    });
    for _ in 0..3 {
        let before = lines(&watch.stdout()).len();
        home.api.post("{}");
        process.kill();
        process = home.start();
        home.api.post("{}");
        prints(&mut watch, before + 1);
    }
    watch.says("trying again");
    watch.says("the stream continues");
    home.all_done(crate::program::LIMIT);
    let all: Vec<i64> = {
        let works = home.api.all();
        let histories = works
            .iter()
            .map(|work| home.api.get(&format!("/work/{}/events", work["id"])));
        let mut ids: Vec<i64> = histories
            .flat_map(|history| history.as_array().unwrap().clone())
            .map(|event| event["id"].as_i64().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    };
    let last = *all.last().unwrap();
    watch.is_seen_to("print the last one", |watch| {
        lines(&watch.stdout()).last().is_some_and(|line| line["id"] == last)
    });
    let seen: Vec<i64> = lines(&watch.stdout())
        .iter()
        .map(|line| line["id"].as_i64().unwrap())
        .collect();
    let first = all.iter().position(|id| *id == seen[0]).unwrap();
    assert_eq!(seen, all[first..]);
    // As Ctrl-C does; a shell says 130.
    let ended = watch.ends_by(Signal::SIGINT);
    assert_eq!(ended.code, None, "{ended:?}");
    assert_eq!(process.terminate().code, Some(0));
}
