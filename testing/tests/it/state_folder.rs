//! The commands on a state folder without servers: nothing to show, nothing to stop, nothing made up.

use std::process::{Command, Output};

fn testkit(folder: &std::path::Path, args: &[&str]) -> Output {
    Command::new(crate::program::path("pp_testkit"))
        .args(args)
        .env("PP_STATE_DIR", folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn down_without_up_is_true_and_makes_no_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let output = testkit(&folder, &["down"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "nothing left running\n");
    assert!(!folder.exists());
}

#[test]
fn status_and_logs_without_up_say_so() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    assert!(text(&testkit(&folder, &["status"]).stdout).starts_with("nothing was started in "));
    let logs = testkit(&folder, &["logs"]);
    assert!(!logs.status.success());
    assert!(
        text(&logs.stderr).contains("nothing was started in "),
        "{}",
        text(&logs.stderr)
    );
}

#[test]
fn an_unknown_service_is_answered_with_the_known_ones() {
    let place = tempfile::tempdir().unwrap();
    let error = text(&testkit(place.path(), &["logs", "task_consumers"]).stderr);
    assert!(
        error.contains("task_consumer, task_producer") && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn a_wish_that_does_not_exist_names_the_variable() {
    let place = tempfile::tempdir().unwrap();
    let output = Command::new(crate::program::path("pp_testkit"))
        .args(["up", "--servers-only"])
        .env("PP_STATE_DIR", place.path())
        .env("PP_SERVERS", "kubernetes")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("'kubernetes'"),
        "{}",
        text(&output.stderr)
    );
}
