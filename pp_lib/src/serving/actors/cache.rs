//! The cache's actor: what waits becomes one round trip, and a cache that is away is left out.
//!
//! Nothing here fails a request: whoever asks gets an answer or none, and goes to the store for the rest.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::{self, AnyCache, ByCode, CacheError, Entry, Found, Lease, Moment};
use crate::domain::{WorkCode, WorkId};
use crate::runtime::Part;
use crate::serving::actors::breaker::Breaker;
use crate::serving::actors::mailbox::{Ask, Keeping, Mailbox, Reply, open};

/// How often a cache that is there is asked for its time, and one that is away whether it is back.
const PAUSE: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(200);
/// How many round trips run at once.
const LANES: usize = 2;
/// How many questions become one round trip at most.
const BATCH: usize = 512;

/// What the cache said about one work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it may be served; see [`cache::LookedUp::fresh`].
    pub fresh: bool,
    /// What was found.
    pub found: Found,
}

/// The running actor, owned by whoever stops it.
#[derive(Debug)]
pub struct CacheActor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How everybody else talks to the cache.
#[derive(Clone)]
pub struct CacheHandle {
    look_ups: Mailbox<WorkId, Seen>,
    fills: Mailbox<(WorkId, Lease, Entry), ()>,
    puts: Mailbox<(Vec<(WorkId, Entry)>, Moment), ()>,
    codes: Mailbox<WorkCode, Option<ByCode>>,
    code_puts: Mailbox<(WorkCode, ByCode), ()>,
    clock: Clock,
    breaker: Arc<Breaker>,
}

impl CacheActor {
    /// Starts the actor on the runtime this is called from. `part` shows whether the cache is there.
    pub fn start(cache: &AnyCache, part: Part, mailbox: usize) -> (Self, CacheHandle) {
        let actor = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let (clock, breaker) = (Clock::default(), Arc::new(Breaker::new(part)));
        let keeping = keep_watch(Arc::clone(cache), clock.clone(), Arc::clone(&breaker));
        let stop = actor.stop.clone();
        actor
            .tasks
            .spawn(async move { stop.run_until_cancelled(keeping).await });
        let opening = Opening {
            cache,
            breaker: &breaker,
            mailbox,
            actor: &actor,
        };
        let handle = opening.all(clock);
        (actor, handle)
    }

    /// Answers what waits, refuses what still comes, and returns when nothing is under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What the mailboxes are opened with.
struct Opening<'a> {
    cache: &'a AnyCache,
    breaker: &'a Arc<Breaker>,
    mailbox: usize,
    actor: &'a CacheActor,
}

impl Opening<'_> {
    fn all(&self, clock: Clock) -> CacheHandle {
        CacheHandle {
            look_ups: self.each("cache: look up", |cache, ids| async move { look_up(&cache, ids).await }),
            fills: self.each("cache: fill", |cache, fills: Vec<_>| async move {
                let done = vec![(); fills.len()];
                cache.fill(&fills).await.map(|()| done)
            }),
            puts: self.each("cache: put", |cache, puts: Vec<(Vec<_>, Moment)>| async move {
                let done = vec![(); puts.len()];
                // The oldest of the moments is right for all of them.
                let Some(since) = puts.iter().map(|(_, since)| *since).min() else {
                    return Ok(done);
                };
                let entries: Vec<_> = puts.into_iter().flat_map(|(entries, _)| entries).collect();
                cache.put(&entries, since).await.map(|()| done)
            }),
            codes: self.each("cache: by code", |cache, codes: Vec<_>| async move {
                cache.by_codes(&codes).await
            }),
            code_puts: self.each("cache: put codes", |cache, entries: Vec<_>| async move {
                let done = vec![(); entries.len()];
                cache.put_codes(&entries).await.map(|()| done)
            }),
            clock,
            breaker: Arc::clone(self.breaker),
        }
    }

    /// A mailbox whose questions are answered together, each at its place.
    fn each<Q, A, C, F>(&self, name: &'static str, call: C) -> Mailbox<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        C: Fn(AnyCache, Vec<Q>) -> F + Send + Sync + 'static,
        F: Future<Output = cache::Result<Vec<A>>> + Send + 'static,
    {
        let keeping = Keeping {
            name,
            capacity: self.mailbox,
            batch: BATCH,
            lanes: LANES,
        };
        let (cache, breaker) = (Arc::clone(self.cache), Arc::clone(self.breaker));
        open(
            keeping,
            &self.actor.tasks,
            &self.actor.stop,
            move |asks: Vec<Ask<Q, A>>| {
                let (questions, replies): (Vec<Q>, Vec<Reply<A>>) =
                    asks.into_iter().map(|ask| (ask.question, ask.reply)).unzip();
                let (calling, breaker) = (call(Arc::clone(&cache), questions), Arc::clone(&breaker));
                async move {
                    // What waited while it opened is not sent any more; dropped, the replies say that there is none.
                    if breaker.is_open() {
                        return;
                    }
                    match calling.await {
                        Ok(answers) => {
                            breaker.succeeded();
                            for (reply, answer) in replies.into_iter().zip(answers) {
                                let _ = reply.send(Ok(answer));
                            }
                        }
                        Err(error) => {
                            log::debug!("{name}: {error}");
                            breaker.failed(&error);
                        }
                    }
                }
            },
        )
    }
}

impl CacheHandle {
    /// Looks a work up.
    pub async fn look_up(&self, id: WorkId) -> Option<Seen> {
        self.ask(&self.look_ups, id).await
    }

    /// Fills in what was missing.
    pub async fn fill(&self, id: WorkId, lease: Lease, entry: Entry) {
        self.ask(&self.fills, (id, lease, entry)).await;
    }

    /// Puts what was committed after a moment of [`Self::now`]; whether the cache knows of it.
    pub async fn put(&self, entries: Vec<(WorkId, Entry)>, since: Moment) -> bool {
        self.ask(&self.puts, (entries, since)).await.is_some()
    }

    /// What is known of a code, if the cache can be asked.
    pub async fn by_code(&self, code: WorkCode) -> Option<Option<ByCode>> {
        self.ask(&self.codes, code).await
    }

    /// Remembers what is known of a code; whether that succeeded.
    pub async fn put_code(&self, code: WorkCode, known: ByCode) -> bool {
        self.ask(&self.code_puts, (code, known)).await.is_some()
    }

    /// Now by the cache's clock, or a little earlier; `None` while that is not known.
    pub fn now(&self) -> Option<Moment> {
        if self.breaker.is_open() { None } else { self.clock.now() }
    }

    async fn ask<Q, A>(&self, mailbox: &Mailbox<Q, A>, question: Q) -> Option<A> {
        if self.breaker.is_open() {
            return None;
        }
        mailbox.ask(question).await.ok()
    }
}

/// The cache's clock as seen from here.
#[derive(Clone, Debug, Default)]
struct Clock(Arc<RwLock<Option<(Moment, Instant)>>>);

impl Clock {
    /// The cache said so at this moment at the latest.
    fn set(&self, moment: Moment) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((moment, Instant::now()));
    }

    /// Never later than the cache's own: its answer was on the way when it was noted.
    fn now(&self) -> Option<Moment> {
        let (moment, noted) = (*self.0.read().unwrap_or_else(PoisonError::into_inner))?;
        let since = i64::try_from(noted.elapsed().as_millis()).ok()?;
        Some(Moment(moment.0.saturating_add(since)))
    }
}

/// A panic in the cache is a failure of the cache.
async fn contained<T>(call: impl Future<Output = cache::Result<T>>) -> cache::Result<T> {
    let broke = |_| Err(CacheError::Rejected("it panicked".to_owned()));
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(broke)
}

/// Asks the cache for its time, now and then while it is there and often while it is away.
async fn keep_watch(cache: AnyCache, clock: Clock, breaker: Arc<Breaker>) {
    loop {
        match contained(cache.now()).await {
            Ok(moment) => {
                clock.set(moment);
                breaker.succeeded();
            }
            Err(error) => {
                log::debug!("cache: {error}");
                breaker.failed(&error);
            }
        }
        sleep(if breaker.is_open() { PROBE_PAUSE } else { PAUSE }).await;
    }
}

async fn look_up(cache: &AnyCache, ids: Vec<WorkId>) -> cache::Result<Vec<Seen>> {
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let seen = cache.look_up(&distinct).await?;
    let found = |id: &WorkId| {
        let place = distinct.binary_search(id).ok();
        place.and_then(|place| seen.found.get(place)).cloned()
    };
    Ok(ids
        .iter()
        .map(|id| Seen {
            fresh: seen.fresh,
            found: found(id).unwrap_or(Found::Nothing),
        })
        .collect())
}
