//! Clients that change works of their own and read them at once: each knows what it must see.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pp_testkit::wait;
use serde_json::Value;

use pp_testkit::client::Api;

const OWNERS: usize = 4;
/// So often a work is changed before its owner takes another.
const CHANGES: i64 = 5;
/// How long a number of rounds may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Clients at work.
#[derive(Default)]
pub(crate) struct Owners {
    rounds: [AtomicUsize; OWNERS],
    ended: AtomicBool,
}

/// What an owner was told last about its work.
struct Own {
    id: i64,
    version: i64,
    add_up_to: i64,
}

impl Owners {
    /// Lets them work until `during` returns. They fail when an answer is not a good one, or older than what they were
    /// told.
    pub(crate) fn work_during(api: &Api, during: impl FnOnce(&Self)) {
        let owners = Self::default();
        thread::scope(|scope| {
            for rounds in &owners.rounds {
                let owners = &owners;
                scope.spawn(move || {
                    let _end = End(&owners.ended);
                    while !owners.ended.load(Ordering::Relaxed) {
                        own_a_work(api, rounds);
                    }
                });
            }
            let _end = End(&owners.ended);
            during(&owners);
        });
    }

    /// Waits until each of them changed and read so often more.
    pub(crate) fn await_rounds(&self, more: usize) {
        let aims = self
            .rounds
            .each_ref()
            .map(|rounds| rounds.load(Ordering::Relaxed) + more);
        let deadline = Instant::now() + LIMIT;
        let reached = || (self.rounds.iter().zip(aims)).all(|(rounds, aim)| rounds.load(Ordering::Relaxed) >= aim);
        while !reached() {
            assert!(!self.ended.load(Ordering::Relaxed), "a client failed");
            assert!(Instant::now() < deadline, "{aims:?}: {:?}", self.rounds);
            thread::sleep(wait::PAUSE / 4);
        }
    }
}

fn own_a_work(api: &Api, rounds: &AtomicUsize) {
    let mut own = Own::new(&api.post(r#"{"add_up_to":1}"#));
    own.read(api);
    for add_up_to in 2..2 + CHANGES {
        own.change(api, add_up_to);
        own.read(api);
        api.get("/health/ready");
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

impl Own {
    fn new(work: &Value) -> Self {
        let number = |field: &str| work[field].as_i64().unwrap();
        Self {
            id: number("id"),
            version: number("version"),
            add_up_to: number("add_up_to"),
        }
    }

    fn change(&mut self, api: &Api, add_up_to: i64) {
        *self = Self::new(&api.patch(self.id, add_up_to));
    }

    /// Nobody else changes its bound; a worker may have finished it.
    fn read(&mut self, api: &Api) {
        let seen = api.see(self.id);
        let read = Self::new(&seen.work);
        let told = (self.version, self.add_up_to);
        assert!(read.version >= told.0, "{told:?} was acknowledged, then {seen:?}");
        assert_eq!(read.add_up_to, told.1, "{seen:?}");
        if seen.work["status"] == "done" {
            let sum = read.add_up_to * (read.add_up_to + 1) / 2;
            assert_eq!(seen.work["result"], sum, "{seen:?}");
        }
        self.version = read.version;
    }
}

/// Stops the others also when one of them or the test panics: the scope waits for all.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
