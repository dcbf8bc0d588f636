//! Clients that post works from several threads and write down what they were told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pp_testkit::wait;

use pp_testkit::client::Api;

const CLIENTS: usize = 4;
/// How long a number of works may take to be acknowledged.
const LIMIT: Duration = Duration::from_secs(30);

/// What the clients were told, over any number of starts of the API.
#[derive(Default)]
pub(crate) struct Told {
    acknowledged: Mutex<Vec<i64>>,
    /// Requests that got no answer, or one that promises nothing.
    failed: AtomicUsize,
}

impl Told {
    /// Posts until `during` returns, which is called once the first work was acknowledged.
    pub(crate) fn post_during(&self, api: &Api, during: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        self.post(api);
                    }
                });
            }
            let _stop = StopClients(&stop);
            during();
        });
    }

    /// Waits until so many works more were acknowledged.
    pub(crate) fn await_more(&self, more: usize) {
        let aim = self.count() + more;
        let deadline = Instant::now() + LIMIT;
        while self.count() < aim {
            assert!(Instant::now() < deadline, "{} of {aim} were acknowledged", self.count());
            thread::sleep(wait::PAUSE / 20);
        }
    }

    /// How many were acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// How many may have taken effect or not.
    pub(crate) fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    /// The ids of what was acknowledged, each once, in order.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let mut ids = self.acknowledged.lock().unwrap().clone();
        ids.sort_unstable();
        let told = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), told, "one id was told to two clients");
        ids
    }

    fn post(&self, api: &Api) {
        match api.try_post("/work", "") {
            Ok(answer) if answer.status == 200 => {
                let id = answer.json()["id"].as_i64().unwrap();
                self.acknowledged.lock().unwrap().push(id);
            }
            _ => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                // A port where nobody listens refuses at once; without a pause this would be a busy loop.
                thread::sleep(wait::PAUSE);
            }
        }
    }
}

/// Stops the clients also when a test panics: its scope waits for them.
struct StopClients<'a>(&'a AtomicBool);

impl Drop for StopClients<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
