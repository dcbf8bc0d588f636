//! The clients of one round: they ask at a bounded rate until they are told to stop, then see to it that everything
//! they began is answered, and hand over what they were told.
//!
//! Each kind of client has a file of its own.

mod amqp;
mod bulk;
mod changes;
mod demands;
mod keyed;
mod operator;
mod posts;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Handle;

use super::told::{Acknowledged, Attempt, FAILS, Identity, Told, now};
use crate::outcome::Outcome;
use pp_testkit::client::Api;

/// A pause after an answer that was none.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Where demands can be published.
#[derive(Clone)]
pub struct Queue {
    /// What runs the client's connections.
    pub runtime: Handle,
    /// RabbitMQ's own URL.
    pub url: String,
    /// The prefix of the queues' names.
    pub prefix: String,
}

/// Whom the clients of a round ask.
pub struct Target {
    /// The API.
    pub client: Api,
    /// The broker; without one, demands come over the API alone.
    pub queue: Option<Queue>,
    /// Whether an operator redrives dead letters meanwhile.
    pub redrives: bool,
    /// Whether works are demanded that have no row yet.
    pub demands: bool,
    /// How long a demand may be tried again after the load has stopped.
    pub limit: Duration,
}

/// What one client does until the load stops.
type Run = Box<dyn FnOnce(&Shared, StdRng) + Send>;

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the clients of a round share.
struct Shared {
    client: Api,
    stopping: AtomicBool,
    /// When the last try has to end; set with `stopping`.
    limit: Duration,
    stopped_at: Mutex<Option<Instant>>,
    told: Mutex<Told>,
}

impl Load {
    /// Starts the clients; their chance is drawn from `seed`.
    pub fn start(target: Target, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            client: target.client,
            stopping: AtomicBool::new(false),
            limit: target.limit,
            stopped_at: Mutex::new(None),
            told: Mutex::default(),
        });
        let mut clients: Vec<Run> = vec![Box::new(bulk::run)];
        clients.extend((0..posts::THREADS).map(|_| Box::new(posts::run) as Run));
        clients.extend((0..changes::THREADS).map(|_| Box::new(changes::run) as Run));
        if target.demands {
            clients.extend((0..demands::THREADS).map(|_| Box::new(demands::run) as Run));
        }
        if target.redrives {
            clients.push(Box::new(operator::run));
        }
        if let Some(queue) = target.queue {
            clients.push(Box::new(move |shared, rng| amqp::run(shared, &queue, rng)));
        }
        let run = |(number, client): (u64, Run)| {
            let (shared, rng) = (shared.clone(), StdRng::seed_from_u64(seed.wrapping_add(number)));
            thread::spawn(move || client(&shared, rng))
        };
        let threads = (0..).zip(clients).map(run).collect();
        Self { shared, threads }
    }

    /// What was told so far.
    pub fn so_far(&self) -> MutexGuard<'_, Told> {
        self.shared.told()
    }

    /// Stops asking, waits until what was begun is answered, and hands over what was told.
    ///
    /// # Errors
    /// When a client panicked.
    pub fn finish(mut self) -> Result<Told> {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a client panicked"))?;
        }
        Ok(std::mem::take(&mut *self.shared.told()))
    }
}

/// A run that fails half way leaves no clients behind.
impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        let mut stopped_at = self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner);
        stopped_at.get_or_insert_with(Instant::now);
        self.stopping.store(true, Ordering::Release);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether what was begun before the stop should be given up.
    fn is_too_late(&self) -> bool {
        let stopped_at = self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner);
        stopped_at.is_some_and(|at| at.elapsed() > self.limit)
    }

    /// Asks once for works, and remembers how that went.
    fn post(&self, path: &str, body: &str, key: Option<&str>) -> Outcome {
        let at = now();
        let answer = Outcome::of(self.client.try_json("POST", path, body, key));
        self.told().attempts.push(Attempt {
            at,
            ok: matches!(answer, Outcome::Good(_)),
            refused: answer == Outcome::Later,
        });
        match answer {
            Outcome::Missing => {
                self.odd("POST", path, "404");
                Outcome::Odd("404".to_owned())
            }
            Outcome::Odd(what) => {
                self.odd("POST", path, &what);
                Outcome::Odd(what)
            }
            other => other,
        }
    }

    fn odd(&self, method: &str, path: &str, what: &str) {
        self.told().odd.push(format!("{method} {path} answered {what}"));
    }

    fn acknowledge(&self, identity: Identity, bound: Option<i64>) {
        self.told().acknowledged.push(Acknowledged {
            identity,
            bound,
            at: now(),
        });
    }
}

/// Calls `once` again and again, at most once per `interval`, until the load stops.
fn at_a_rate(shared: &Shared, interval: Duration, mut once: impl FnMut()) {
    let mut next = Instant::now();
    while !shared.is_stopping() {
        once();
        next = (next + interval).max(Instant::now().checked_sub(interval).unwrap_or(next));
        thread::sleep(next.saturating_duration_since(Instant::now()).min(interval));
    }
}

/// Bounds of works that run for a while, from 0.2 to 0.6 s at the pace of these systems: long enough to be under a lease
/// when their worker dies, short enough not to be the larger part of what a recovery takes.
const SLOW: Range<i64> = 100_000..300_000;

/// What is asked for: most works end at once, some run for a while, a few fail. `None` leaves it to the API.
fn bound(rng: &mut StdRng) -> Option<i64> {
    match rng.random_range(0..1_000) {
        0..10 => Some(FAILS),
        10..40 => Some(rng.random_range(SLOW)),
        40..340 => None,
        _ => Some(rng.random_range(1..4_000)),
    }
}

fn body(bound: Option<i64>) -> String {
    bound.map_or_else(|| "{}".to_owned(), |bound| format!(r#"{{"add_up_to":{bound}}}"#))
}

/// A key that nobody else has.
fn key() -> String {
    pp_lib::runtime::new_message_id().as_str().to_owned()
}
