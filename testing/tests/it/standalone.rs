//! `pp_standalone` as people run it: its first five minutes, and what is left when it is killed, again and again.

use std::path::Path;
use std::time::{Duration, Instant};

use pp_testkit::{ports, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::dice::Dice;
use crate::load::Told;
use crate::program::{Process, Program};
use pp_testkit::client::Api;

/// A data folder and a port that one process after the other uses.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) api: Api,
}

impl Home {
    pub(crate) fn new() -> Self {
        let [port] = ports::free().unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            api: Api::at(port),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn program(&self) -> Program {
        self.program_under(&[])
    }

    /// The same, by way of a command that becomes it.
    pub(crate) fn program_under(&self, starter: &[&str]) -> Program {
        Program::under(starter, "pp_standalone")
            .folder(self.path())
            .set("PP_API_BIND", format!("127.0.0.1:{}", self.api.port))
    }

    pub(crate) fn start(&self) -> Process {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, variables: &[(&str, &str)]) -> Process {
        let program = self.program();
        let program = variables
            .iter()
            .fold(program, |program, (name, value)| program.set(name, value));
        let mut process = program.start();
        process.gets_ready(&self.api);
        process
    }

    /// Waits until every work is done.
    pub(crate) fn all_done(&self, limit: Duration) {
        let unfinished = || self.api.get("/work?done=false&limit=1");
        assert!(
            wait::holds_within(limit, || unfinished().as_array().unwrap().is_empty()),
            "not done within {limit:?}: {:?}",
            unfinished()
        );
    }

    /// Every work is right, everything acknowledged is there, and nothing is that nobody asked for. A work that was
    /// recorded as running when its process was killed tells of that attempt, at most `lost` times.
    fn is_exact(&self, told: &Told, lost: usize) {
        let works = self.api.all();
        for work in &works {
            self.is_right(work, lost);
        }
        let ids = |work: &Value| work["id"].as_i64().unwrap();
        let mut there: Vec<i64> = works.iter().map(ids).collect();
        there.sort_unstable();
        let acknowledged = told.ids();
        let lost: Vec<&i64> = acknowledged
            .iter()
            .filter(|id| there.binary_search(id).is_err())
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert!(
            there.len() <= acknowledged.len() + told.failed(),
            "{} works, though {} were acknowledged and {} had no answer",
            there.len(),
            acknowledged.len(),
            told.failed()
        );
    }

    fn is_right(&self, work: &Value, lost: usize) {
        let bound = work["add_up_to"].as_i64().unwrap();
        let sum = bound * (bound + 1) / 2;
        assert_eq!(
            (work["status"].as_str(), work["done"].as_bool()),
            (Some("done"), Some(true)),
            "{work}"
        );
        assert_eq!(work["result"], sum, "{work}");
        let (events, result) = self.api.history(work["id"].as_i64().unwrap());
        let attempts = events.len().saturating_sub(EVENTS.len()) / 2;
        let expected = [&EVENTS[..1], &LOST_ATTEMPT.repeat(attempts.min(lost)), &EVENTS[1..]].concat();
        assert_eq!(events, expected, "{work}");
        assert_eq!(result, Some(sum.to_string()), "{work}");
    }
}

const EVENTS: [&str; 4] = ["work/created", "compute/start", "compute/stop", "compute/result"];
const LOST_ATTEMPT: [&str; 2] = ["compute/start", "compute/error"];

#[test]
fn the_first_five_minutes() {
    let home = Home::new();
    let process = home.start();
    let random = home.api.post("");
    assert!((1..=99).contains(&random["add_up_to"].as_i64().unwrap()), "{random}");
    let hundred = home.api.post(r#"{"add_up_to":100}"#);
    assert_eq!(hundred["id"], 2, "{hundred}");
    home.all_done(Duration::from_secs(10));
    // What is served may be a moment older than what is searched.
    assert!(wait::holds_within(Duration::from_secs(10), || home.api.get("/work/2")
        ["result"]
        == 5050));
    let work = home.api.get("/work/2");
    home.is_right(&work, 0);
    home.is_right(&home.api.get("/work/1"), 0);

    // The tool finds the file where the folder is, with nothing set.
    let shown = |arguments: &str| Program::new("cli_01").folder(home.path()).args(arguments).run();
    let table = shown("--id 2 --call-type db");
    assert!(table.code == Some(0) && table.stdout.contains("5050"), "{table:?}");
    let json = shown("--id 2 --call-type db --output json");
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).unwrap(), work, "{json:?}");
    let bytes = Program::new("cli_02").args(&format!("--port {}", home.api.port)).run();
    assert_eq!(bytes.code, Some(0), "{bytes:?}");
    assert!(
        bytes.stdout.contains("> GET / HTTP/1.1") && bytes.stdout.contains("< HTTP/1.1 200"),
        "{bytes:?}"
    );

    process.kill();
    let again = home.start();
    assert_eq!(home.api.get("/work/2"), work);
    let third = home.api.post("{}");
    assert_eq!(third["id"], 3, "{third}");
    home.all_done(Duration::from_secs(10));
    assert_eq!(again.terminate().code, Some(0));
}

#[test]
fn it_says_where_it_is_and_what_to_try() {
    let home = Home::new();
    let process = home.start();
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let url = format!("http://127.0.0.1:{}", home.api.port);
    assert!(ended.stdout.contains(&format!("curl -X POST {url}/work")), "{ended:?}");
    assert!(ended.stdout.contains("data in"), "{ended:?}");
}

#[test]
fn a_second_one_on_the_same_folder_says_so_and_ends() {
    let home = Home::new();
    let _first = home.start();
    let [other] = ports::free().unwrap();
    // With the same port as well, the folder is what is wrong: another port would not help.
    for port in [other, home.api.port] {
        let second = home.program().set("PP_API_BIND", format!("127.0.0.1:{port}")).run();
        assert_eq!(second.code, Some(1), "{second:?}");
        assert_eq!(second.stderr.lines().count(), 1, "{second:?}");
        assert!(
            second.stderr.contains("PP_DATA_DIR") && second.stderr.contains("./data is in use"),
            "{second:?}"
        );
        assert_eq!(second.stdout, "", "{second:?}");
    }
    assert!(home.api.is_ready());
}

#[test]
fn nothing_acknowledged_is_lost_or_done_twice_when_it_is_killed_under_load() {
    const KILLS: usize = 6;
    let (home, told, mut dice) = (Home::new(), Told::default(), Dice::new());
    for _ in 0..KILLS {
        let process = home.start();
        told.post_during(&home.api, || {
            told.await_more(dice.roll("works until the next kill", 1..=120));
            process.kill();
        });
    }
    let process = home.start();
    // What was on its way to the worker is not waited for as long as a claim lasts, which is 12 s.
    home.all_done(Duration::from_secs(10));
    // The first kill finds nothing recorded as running; what it sends back is, since it may be why the process ended.
    home.is_exact(&told, KILLS - 1);
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn a_stop_under_load_is_clean_and_in_time() {
    let (home, told) = (Home::new(), Told::default());
    let process = home.start_with(&[("PP_GRACE", "5s")]);
    told.post_during(&home.api, || {
        told.await_more(100);
        let begun = Instant::now();
        let ended = process.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    });
    let _again = home.start();
    home.all_done(Duration::from_secs(20));
    home.is_exact(&told, 0);
}

#[test]
fn what_was_pending_at_a_kill_is_done_soon_after_the_next_start() {
    let home = Home::new();
    // Everything is sent to a worker that does not exist.
    let process = home.start_with(&[("PP_DISPATCH", "only")]);
    let told = Told::default();
    told.post_during(&home.api, || told.await_more(50));
    assert_eq!(
        home.api
            .get("/work?status=pending&limit=1000")
            .as_array()
            .unwrap()
            .len(),
        told.count()
    );
    process.kill();
    let _again = home.start();
    home.all_done(Duration::from_secs(10));
    home.is_exact(&told, 0);
}

#[test]
fn what_was_demanded_before_a_kill_is_done_after_it() {
    let home = Home::new();
    for round in 0..3 {
        let process = home.start();
        let demands: Vec<Value> = (0..20)
            .map(|number| home.api.demand("{}", Some(&format!("{round}/{number}"))))
            .collect();
        process.kill();
        let process = home.start();
        // Who did not hear the answer asks again.
        let again = |number: &usize| home.api.demand("{}", Some(&format!("{round}/{number}")));
        let repeated: Vec<Value> = (0..20).step_by(3).map(|number| again(&number)).collect();
        for (first, again) in demands.iter().step_by(3).zip(&repeated) {
            assert_eq!(first["work_code"], again["work_code"]);
        }
        home.all_done(Duration::from_secs(60));
        for demand in &demands {
            let work = home
                .api
                .get(&format!("/work/code/{}", demand["work_code"].as_str().unwrap()));
            let bound = demand["add_up_to"].as_i64().unwrap();
            assert_eq!(
                (&work["add_up_to"], &work["result"]),
                (&demand["add_up_to"], &(bound * (bound + 1) / 2).into()),
                "{work}"
            );
        }
        assert_eq!(home.api.all().len(), 20 * (round + 1));
        assert_eq!(process.terminate().code, Some(0));
    }
}

/// The folder's lock shows that nobody works on it any more, whatever its lease says.
#[test]
fn what_was_running_at_a_kill_starts_anew_at_once() {
    let home = Home::new();
    let process = home.start_with(&[("PP_PACE", "10s"), ("PP_LEASE", "1h")]);
    let id = home.api.post(r#"{"add_up_to":7}"#)["id"].as_i64().unwrap();
    let path = format!("/work/{id}");
    assert!(wait::holds_within(
        Duration::from_secs(10),
        || home.api.get(&path)["status"] == "running"
    ));
    process.kill();
    let _again = home.start();
    home.all_done(Duration::from_secs(10));
    assert_eq!(home.api.get(&path)["result"], 28);
    let (events, _) = home.api.history(id);
    assert_eq!(events, [&EVENTS[..1], &LOST_ATTEMPT, &EVENTS[1..]].concat());
}

/// Many systems allow a process 1,024 open files until it asks for more: too few for the clients of live streams.
#[test]
fn it_takes_as_many_open_files_as_it_may_have() {
    let home = Home::new();
    let mut process = home.program_under(&["prlimit", "--nofile=256:4096"]).start();
    process.gets_ready(&home.api);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).collect();
    assert_eq!(numbers, ["4096", "4096", "files"]);
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_at_start() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    let home = Home::new();
    let file = home.path().join("data/pp.sqlite");
    assert_eq!(home.start().terminate().code, Some(0));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write anything, unless it gives up that right.
    let starter: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"],
        false => &[],
    };
    let ended = Program::under(starter, "pp_standalone")
        .folder(home.path())
        .set("PP_API_BIND", format!("127.0.0.1:{}", home.api.port))
        .run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!ended.stdout.contains("PP is running"), "{}", ended.stdout);
    let error = ended.stderr.lines().last().unwrap_or_default();
    assert!(
        error.starts_with("error: PP_DATABASE_URL: ") && error.contains("pp.sqlite: "),
        "{error}"
    );
}
