//! A process is known by its number and its start: a number given away again is somebody else.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use pp_testkit::process::{self, ProcessId};
use pp_testkit::wait;

/// A process that ends when its input does, so that none is left when a test fails.
fn stranger(variable: &str) -> Child {
    Command::new("cat")
        .env("PP_TESTKIT_TEST", variable)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_recycled_number_is_neither_alive_nor_signalled() {
    let mut child = stranger("recycled");
    let now = ProcessId::of(child.id()).unwrap();
    for earlier in [
        ProcessId {
            started_ticks: now.started_ticks - 1,
            ..now.clone()
        },
        ProcessId {
            boot_id: "another boot".to_owned(),
            ..now.clone()
        },
    ] {
        assert!(!earlier.is_alive());
        earlier.end(&[]).unwrap();
        assert!(earlier.family().is_empty());
    }
    assert!(now.is_alive(), "the stranger with the same number must live on");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_ended_process_is_not_alive_even_before_it_is_waited_for() {
    let mut child = stranger("ended");
    let id = ProcessId::of(child.id()).unwrap();
    id.end(&[(Signal::SIGTERM, Duration::from_secs(10))]).unwrap();
    assert!(!id.is_alive());
    child.wait().unwrap();
}

#[test]
fn a_family_has_grandchildren_that_lost_their_parent() {
    use std::os::unix::process::CommandExt as _;
    // The inner shell's child is adopted by init, but stays in the group.
    let mut leader = Command::new("sh")
        .args(["-c", "(sleep 60 & echo $!) ; exec sleep 60"])
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut number = String::new();
    let said = leader.stdout.take().unwrap();
    BufReader::new(said).read_line(&mut number).unwrap();
    let grandchild = ProcessId::of(number.trim().parse().unwrap()).unwrap();
    let id = ProcessId::of(leader.id()).unwrap();
    let family = id.family();
    assert!(family.contains(&grandchild), "{family:?}");
    id.end(&[]).unwrap();
    leader.wait().unwrap();
    assert!(grandchild.is_alive());
    family.iter().for_each(|kin| kin.end(&[]).unwrap());
    assert!(!family.iter().any(ProcessId::is_alive));
}

#[test]
fn processes_are_found_by_the_exact_value_of_a_variable() {
    let value = format!("found-{}", std::process::id());
    let mut child = stranger(&value);
    let id = ProcessId::of(child.id()).unwrap();
    assert!(wait::holds_within(Duration::from_secs(10), || process::with_variable(
        "PP_TESTKIT_TEST",
        &value
    ) == [id.clone()]));
    assert!(process::with_variable("PP_TESTKIT_TEST", "found").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
}
