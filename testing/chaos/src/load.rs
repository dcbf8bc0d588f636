//! The clients of one round: they ask at a bounded rate until they are told to stop, then see to it that everything
//! they began is answered, and hand over what they were told.
//!
//! Each kind of client has a file of its own.

mod amqp;
mod app;
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

use super::asks::{Ask, FAILS, Mood};
use super::told::{Acknowledged, Attempt, Identity, Told, now};
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

/// The database of an application that has PP's tables in it.
#[derive(Clone)]
pub struct Database {
    /// What runs the client's connection.
    pub runtime: Handle,
    /// PostgreSQL's own URL.
    pub url: String,
}

/// Whom the clients of a round ask.
pub struct Target {
    /// The API.
    pub client: Api,
    /// The broker; without one, demands come over the API alone.
    pub queue: Option<Queue>,
    /// The database; without one, no application puts works in.
    pub database: Option<Database>,
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
        if let Some(database) = target.database {
            clients.push(Box::new(move |shared, rng| app::run(shared, &database, rng)));
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

    fn acknowledge(&self, identity: Identity, ask: Option<Ask>) {
        self.told().acknowledged.push(Acknowledged {
            identity,
            ask,
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

/// The milliseconds of slow works.
const SLOW_MILLIS: Range<u32> = 50..300;
/// The moods of works in a run.
const MOODS: [Mood; 3] = [Mood::Fails, Mood::FailsTwice, Mood::PanicsOnce];

/// What is asked for: most works are sums that end at once, some run for a while, a few fail. `None` leaves it to the API.
fn ask(rng: &mut StdRng) -> Option<Ask> {
    match rng.random_range(0..10) {
        0..3 => None,
        _ => Some(any_ask(rng)),
    }
}

/// The same where nothing is left to anybody.
fn any_ask(rng: &mut StdRng) -> Ask {
    match rng.random_range(0..1_000) {
        0..15 => Ask::Sum(FAILS),
        15..60 => Ask::Sum(rng.random_range(SLOW)),
        60..180 => slow(rng),
        180..240 => moody(rng),
        240..330 => outside(rng),
        _ => Ask::Sum(rng.random_range(1..4_000)),
    }
}

fn slow(rng: &mut StdRng) -> Ask {
    Ask::Slow(rng.random_range(SLOW_MILLIS))
}

fn moody(rng: &mut StdRng) -> Ask {
    Ask::Moody(MOODS[rng.random_range(0..MOODS.len())], rng.random_range(0..1_000_000))
}

fn outside(rng: &mut StdRng) -> Ask {
    Ask::Outside(rng.random_range(0..1_000_000))
}

fn body(ask: Option<Ask>) -> String {
    ask.map_or_else(|| "{}".to_owned(), Ask::body)
}

/// A key that nobody else has.
fn key() -> String {
    pp_lib::runtime::new_message_id().as_str().to_owned()
}
