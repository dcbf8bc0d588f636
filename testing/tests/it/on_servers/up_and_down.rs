//! `up` and `down` from end to end: the servers and services of a machine, and nothing left of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use pp_testkit::launch::MARK;
use pp_testkit::process::{self, ProcessId};
use pp_testkit::{ports, wait};

use crate::program::{Ended, Program};
use pp_testkit::client::Api;

/// A state folder of its own; `down` is called for it at the end, also when the test fails.
pub(super) struct System {
    folder: tempfile::TempDir,
    pub(super) ports: [u16; 3],
}

impl System {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            ports: ports::free().unwrap(),
        }
    }

    pub(super) fn run(&self, words: &str) -> Ended {
        let [api, consumer, producer] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        Program::new("pp_testkit")
            .args(words)
            .set("PP_SERVERS", "private")
            .set("PP_STATE_DIR", self.state())
            .set("PP_API_BIND", api)
            .set("PP_CONSUMER_PROBE_BIND", consumer)
            .set("PP_PRODUCER_PROBE_BIND", producer)
            .set("PP_SCHEDULE", "* * * * * *")
            .run_within(Duration::from_secs(150))
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs one of the tools with what `up` wrote down.
    pub(super) fn tool(&self, name: &str, words: &str) -> Ended {
        let file = pp_testkit::state::EnvFile::read(&self.state().join("env")).unwrap();
        let variables = ["PP_API_URL", "PP_DATABASE_URL", "PP_TLS_CA"];
        let set = variables
            .iter()
            .filter_map(|variable| Some((variable, file.get(variable)?)));
        let program = set.fold(Program::new(name), |program, (variable, value)| {
            program.set(variable, value)
        });
        program.args(words).run()
    }

    /// The processes that carry the mark of the state folder or of its servers.
    fn marked(&self, home: &Path) -> Vec<ProcessId> {
        let folders = [self.state().canonicalize().unwrap(), home.to_path_buf()];
        let marked = folders
            .iter()
            .flat_map(|folder| process::with_variable(MARK, &folder.to_string_lossy()));
        marked.collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.state().exists() {
            self.run("down --purge");
        }
    }
}

#[test]
fn a_system_comes_up_works_and_goes_down_without_a_trace() {
    let system = System::new();
    let up = system.run("up");
    assert_eq!(up.code, Some(0), "{up:?}");
    let home = std::fs::read_to_string(system.state().join("location")).unwrap();
    let home = PathBuf::from(home.trim_end());
    let api = Api::at(system.ports[0]);

    // A producer's demand, through the queue and the worker, found over REST.
    let found = || api.get("/work/search?work_code=consumer-&done=true");
    assert!(
        wait::holds_within(Duration::from_secs(15), || !found().as_array().unwrap().is_empty()),
        "no demand of the producer was worked off"
    );
    let work = &found()[0];
    assert!(work["work_code"].as_str().unwrap().starts_with("consumer-"), "{work}");

    let id = api.post(r#"{"add_up_to":100}"#)["id"].as_i64().unwrap();
    let path = format!("/work/{id}");
    assert!(
        wait::holds_within(Duration::from_secs(15), || api.get(&path)["done"] == true),
        "{}",
        api.get(&path)
    );
    let work = api.get(&path);
    assert_eq!(work["result"], 5050, "{work}");
    for call in ["http", "db"] {
        let shown = system.tool("cli_01", &format!("--id {id} --call-type {call} --output json"));
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown.stdout).unwrap(),
            work,
            "{call}"
        );
    }
    let bytes = system.tool("cli_02", &format!("--port {} --path {path}", api.port));
    assert!(bytes.code == Some(0) && bytes.stdout.contains("5050"), "{bytes:?}");

    // The table has a line for each of the six, and a second `up` finds nothing to start.
    let rows = |text: &str| {
        let rows = text.lines().filter(|line| line.ends_with("ready")).map(str::to_owned);
        rows.collect::<Vec<_>>()
    };
    let status = system.run("status");
    assert_eq!((status.code, rows(&status.stdout).len()), (Some(0), 6), "{status:?}");
    assert!(!status.stdout.contains("not ready"), "{status:?}");
    let before = system.marked(&home);
    let again = system.run("up");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(
        rows(&again.stdout),
        rows(&status.stdout),
        "the same processes as before"
    );
    assert!(before.iter().all(ProcessId::is_alive));

    // One that stopped is seen by scripts as well.
    let is_producer = |process: &&ProcessId| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
        name.trim() == "task_producer"
    };
    let producer = before.iter().find(is_producer).unwrap();
    producer.end(&[(Signal::SIGTERM, Duration::from_secs(20))]).unwrap();
    let status = system.run("status");
    assert_eq!((status.code, rows(&status.stdout).len()), (Some(1), 5), "{status:?}");

    let down = system.run("down");
    assert_eq!(down.code, Some(0), "{down:?}");
    assert_eq!(down.stdout.lines().last(), Some("nothing left running"), "{down:?}");
    assert_eq!(down.stderr, "", "a service had to be killed");
    assert!(!before.iter().any(ProcessId::is_alive));
    assert_eq!(system.marked(&home), []);
    assert!(system.ports.iter().all(|port| ports::is_free(*port)));
}

#[test]
fn a_system_on_postgresql_alone_works_and_says_its_form() {
    let system = System::new();
    let up = system.run("up --only-postgres");
    assert_eq!(up.code, Some(0), "{up:?}");
    let api = Api::at(system.ports[0]);
    let found = || api.get("/work/search?work_code=consumer-&done=true");
    assert!(
        wait::holds_within(Duration::from_secs(15), || !found().as_array().unwrap().is_empty()),
        "no demand of the producer was worked off"
    );
    let id = api.post(r#"{"add_up_to":100}"#)["id"].as_i64().unwrap();
    let path = format!("/work/{id}");
    assert!(
        wait::holds_within(Duration::from_secs(15), || api.get(&path)["result"] == 5050),
        "{}",
        api.get(&path)
    );
    let status = system.run("status");
    assert_eq!(status.code, Some(0), "{status:?}");
    let other = system.run("up");
    assert!(
        other.code != Some(0) && other.stderr.contains("PostgreSQL alone"),
        "{other:?}"
    );
    let down = system.run("down");
    assert_eq!(down.stdout.lines().last(), Some("nothing left running"), "{down:?}");
}
