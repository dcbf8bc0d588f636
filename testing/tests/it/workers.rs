//! The workers that the API serves, run as they are served: with Python and with Node.js, one handler put in.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use pp_testkit::{install, programs, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Process, Program};
use crate::standalone::Home;

const LIMIT: Duration = Duration::from_secs(20);

/// Does what the arguments say.
const PYTHON: &str = r#"
def handle(args, run):
    what, first = args["do"], run.attempt == 1
    if what == "permanent":
        raise Permanent("for good")
    if what == "fail" and first:
        raise ValueError("the first time")
    if what == "later" and first:
        raise RetryLater("busy", 0.1)
    if what == "snooze" and first:
        raise Snooze(0)
    if what == "no json":
        return {1, 2}
    if what == "large":
        return "x" * 500000
    if what == "wait" and first:
        run.progress(40, "half way")
        while not os.path.exists(args["until"]):
            if run.cancelled.is_set():
                log.info("%s sees its end", run.work_code)
                break
            time.sleep(0.02)
    return {"did": what, "attempt": run.attempt}
"#;

const NODE: &str = r#"
import { existsSync } from "node:fs";
async function handle(args, run) {
  const [what, first] = [args.do, run.attempt === 1];
  if (what === "permanent") throw new Permanent("for good");
  if (what === "fail" && first) throw new Error("the first time");
  if (what === "later" && first) throw new RetryLater("busy", 0.1);
  if (what === "snooze" && first) throw new Snooze(0);
  if (what === "no json") return 1n;
  if (what === "large") return "x".repeat(500000);
  if (what === "wait" && first) {
    run.progress(40, "half way");
    while (!existsSync(args.until) && !run.signal.aborted) await sleep(20);
    if (run.signal.aborted) log(`${run.code} sees its end`);
  }
  return { did: what, attempt: run.attempt };
}
"#;

/// A language with a worker.
struct Language {
    file: &'static str,
    program: programs::Program,
    handler: &'static str,
}

const PYTHON_3: Language = Language {
    file: "worker.py",
    program: programs::Program::Python,
    handler: PYTHON,
};
const NODE_JS: Language = Language {
    file: "worker.mjs",
    program: programs::Program::Node,
    handler: NODE,
};

/// PP with a pulled kind, and a worker for it in a folder.
struct Place {
    home: Home,
    api: Option<Process>,
    language: Language,
    folder: TempDir,
}

impl Place {
    fn new(language: Language) -> Self {
        install::install(&[language.program], |_| ()).unwrap();
        let home = Home::new();
        let api = Some(home.start());
        let kind = json!({"delivery": "pull", "policy": {"max_attempts": 3, "backoff": {"base": "0s"}}});
        let declared = home.api.try_json("PUT", "/kind/script", &kind.to_string(), None);
        declared.unwrap().with(200);
        let file = language.file;
        let served = home.api.try_get(&format!("/kind/script/{file}")).unwrap();
        assert_eq!(served.status, 200);
        let (before, rest) = served.body.split_once("---- your code: begin ----\n").unwrap();
        let (_, after) = rest.split_once("---- your code: end ----").unwrap();
        let comment = if file == "worker.py" { "#" } else { "//" };
        let text = format!("{before}{}{comment}{after}", language.handler);
        // Times that suit a test.
        let text = text
            .replacen("LEASE = 30", "LEASE = 2", 1)
            .replacen("GRACE = 20", "GRACE = 1", 1);
        assert!(text.contains("LEASE = 2") && text.contains("GRACE = 1"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), text).unwrap();
        Self {
            home,
            api,
            language,
            folder,
        }
    }

    fn start(&self, name: &str, places: u16) -> Process {
        Program::foreign(name, self.language.program.locate().unwrap())
            .args(self.language.file)
            .folder(self.folder.path())
            .set("PP_WORKER_NAME", name)
            .set("PP_WORKER_PLACES", places.to_string())
            .start()
    }

    fn create(&self, args: &Value) -> i64 {
        let work = json!({"kind": "script", "args": args}).to_string();
        self.home.api.post(&work)["id"].as_i64().unwrap()
    }

    /// Creates a work whose first attempt waits for a file, and waits until it runs.
    fn wait_for(&self, file: &str) -> i64 {
        let id = self.create(&json!({"do": "wait", "until": file}));
        self.until(id, "running and telling its progress", |work| {
            work["status"] == "running" && work["progress"] == 40 && work["note"] == "half way"
        });
        id
    }

    fn make(&self, file: &str) {
        fs::write(self.path().join(file), "").unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn until(&self, id: i64, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let work = || self.home.api.get(&format!("/work/{id}"));
        assert!(wait::holds_within(LIMIT, || holds(&work())), "not {what}: {}", work());
        work()
    }

    /// Waits for the result, which an attempt with this number has, and is told of once.
    fn is_done_once(&self, id: i64, attempt: i64) {
        let work = self.until(id, "done", |work| work["status"] == "done");
        assert_eq!(work["result"]["attempt"], attempt, "{work}");
        let (events, _) = self.home.api.history(id);
        let results = events.iter().filter(|name| *name == "compute/result").count();
        assert_eq!(
            (results, events.last().unwrap().as_str()),
            (1, "compute/result"),
            "{events:?}"
        );
    }
}

fn works_end_as_their_code_says(language: Language) {
    let place = Place::new(language);
    let worker = place.start("one", 3);
    let id = |what: &str| place.create(&json!({"do": what}));
    let (good, again) = (id("echo"), [id("fail"), id("later"), id("snooze")]);
    let (permanent, no_json, large) = (id("permanent"), id("no json"), id("large"));
    place.is_done_once(good, 1);
    again.iter().for_each(|id| place.is_done_once(*id, 2));
    for (id, why) in [(permanent, "for good"), (no_json, "TypeError"), (large, "result")] {
        let work = place.until(id, "failed", |work| work["status"] == "failed");
        assert!(work["error"].as_str().unwrap().contains(why), "{work}");
    }
    let first = |id: i64| place.home.api.get(&format!("/work/{id}/events"));
    assert!(first(again[0]).to_string().contains("the first time"));
    let is_told = || {
        let workers = place.home.api.get("/worker");
        workers[0]["name"] == "one" && workers[0]["kinds"] == json!(["script"])
    };
    assert!(wait::holds_within(LIMIT, is_told), "{}", place.home.api.get("/worker"));
    let code = place.home.api.get(&format!("/work/{permanent}"))["work_code"].clone();
    assert!(worker.stderr().contains(code.as_str().unwrap()), "{}", worker.stderr());
    assert_eq!(worker.terminate().code, Some(0));
}

fn a_cancelled_work_reaches_its_code(language: Language) {
    let place = Place::new(language);
    let mut worker = place.start("one", 1);
    let id = place.wait_for("never");
    let cancelled = place.home.api.try_post(&format!("/work/{id}/cancel"), "");
    cancelled.unwrap().with(200);
    worker.says("sees its end");
    worker.says("complete has no effect: this run is over: the work was cancelled");
    let next = place.create(&json!({"do": "echo"}));
    place.is_done_once(next, 1);
    assert_eq!(place.home.api.get(&format!("/work/{id}"))["status"], "cancelled");
}

fn a_stop_hands_back_what_does_not_end(language: Language) {
    let place = Place::new(language);
    let worker = place.start("one", 2);
    let (ending, lasting) = (place.wait_for("soon"), place.wait_for("never"));
    place.make("soon");
    place.is_done_once(ending, 1);
    // The free place waits for a work, and must not get the one that is handed back.
    worker.signal(Signal::SIGINT);
    let ended = worker.ends_by(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let work = place.until(lasting, "handed back", |work| work["status"] == "pending");
    assert_eq!((&work["attempt"], work.get("error")), (&json!(2), None), "{work}");
    let _other = place.start("two", 1);
    place.is_done_once(lasting, 2);
}

fn a_stop_lets_works_end(language: Language) {
    let place = Place::new(language);
    let mut worker = place.start("one", 1);
    let (ending, next) = (place.wait_for("soon"), place.create(&json!({"do": "echo"})));
    worker.signal(Signal::SIGTERM);
    worker.says("one stops");
    place.make("soon");
    let ended = worker.ends();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    place.is_done_once(ending, 1);
    let work = place.home.api.get(&format!("/work/{next}"));
    assert_eq!(
        (&work["status"], work.get("attempt")),
        (&json!("pending"), None),
        "{work}"
    );
}

fn another_worker_finishes_what_a_killed_one_had(language: Language) {
    let place = Place::new(language);
    let killed = place.start("one", 1);
    let id = place.wait_for("never");
    killed.kill();
    let _other = place.start("two", 1);
    place.is_done_once(id, 2);
}

fn a_worker_that_was_frozen_has_no_say_any_more(language: Language) {
    let place = Place::new(language);
    let mut frozen = place.start("one", 1);
    let id = place.wait_for("go");
    frozen.freeze();
    let _other = place.start("two", 1);
    place.is_done_once(id, 2);
    let events = place.home.api.history(id);
    place.make("go");
    frozen.thaw();
    frozen.says("complete has no effect: this run is over");
    place.is_done_once(id, 2);
    assert_eq!(place.home.api.history(id), events, "a late report leaves no event");
}

fn a_result_waits_for_an_api_that_is_away(language: Language) {
    let mut place = Place::new(language);
    let mut worker = place.start("one", 1);
    let id = place.wait_for("go");
    place.api.take().unwrap().kill();
    place.make("go");
    worker.says("complete is repeated: http://127.0.0.1");
    place.api = Some(place.home.start());
    let work = place.until(id, "done", |work| work["status"] == "done");
    assert!(work["result"]["attempt"].as_i64() <= Some(2), "{work}");
    let (events, _) = place.home.api.history(id);
    assert_eq!(
        events.iter().filter(|name| *name == "compute/result").count(),
        1,
        "{events:?}"
    );
}

#[test]
fn places_beyond_the_bounds_are_an_error_at_start() {
    for language in [PYTHON_3, NODE_JS] {
        let place = Place::new(language);
        let ended = place.start("one", 1001).ends();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("PP_WORKER_PLACES must be a number from 1 to 1000"),
            "{ended:?}"
        );
    }
}

/// Makes a test of each case with this language.
macro_rules! with {
    ($module:ident, $language:ident: $($case:ident)*) => {
        mod $module {
            $(#[test] fn $case() { super::$case(super::$language); })*
        }
    };
}

macro_rules! with_both {
    ($($case:ident)*) => {
        with!(python, PYTHON_3: $($case)*);
        with!(node, NODE_JS: $($case)*);
    };
}

with_both! {
    works_end_as_their_code_says
    a_cancelled_work_reaches_its_code
    a_stop_hands_back_what_does_not_end
    a_stop_lets_works_end
    another_worker_finishes_what_a_killed_one_had
    a_worker_that_was_frozen_has_no_say_any_more
    a_result_waits_for_an_api_that_is_away
}
