//! The cache's actor: merges waiting calls into one round trip, and bypasses an unavailable cache.
//!
//! A cache failure never fails a request: the caller gets no answer and asks the store instead.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::time::sleep;

use crate::cache::{self, AnyCache, ByCode, CacheError, Entry, EntryOrLease, Lease, Moment};
use crate::domain::{WorkCode, WorkId};
use crate::runtime::Part;
use crate::serving::actors::Actor;
use crate::serving::actors::breaker::Breaker;
use crate::serving::actors::mailbox::{Mailbox, MailboxOptions, Reply, open};

/// The pause between reads of the cache's clock, and between probes of an unavailable cache.
const PAUSE: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(200);
/// The number of concurrent round trips.
const LANES: usize = 2;
/// The maximum number of questions in one round trip.
const BATCH: usize = 512;

/// The cache's answer about one work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheAnswer {
    /// True if the entry may be served; see [`cache::LookedUp::fresh`].
    pub fresh: bool,
    /// The entry, or a lease for filling it in.
    pub found: EntryOrLease,
}

/// Sends requests to the cache's actor.
#[derive(Clone)]
pub struct CacheHandle {
    look_ups: Mailbox<WorkId, CacheAnswer>,
    fills: Mailbox<(WorkId, Lease, Entry), ()>,
    puts: Mailbox<(Vec<(WorkId, Entry)>, Moment), ()>,
    codes: Mailbox<WorkCode, Option<ByCode>>,
    code_puts: Mailbox<(WorkCode, ByCode), ()>,
    clock: Clock,
    breaker: Arc<Breaker>,
}

struct MailboxOpener<'a> {
    actor: &'a Actor,
    cache: &'a AnyCache,
    breaker: &'a Arc<Breaker>,
    mailbox: usize,
}

impl MailboxOpener<'_> {
    /// Opens a mailbox for a batched call whose answers have the order of the questions.
    fn each<Q, A, C, F>(&self, name: &'static str, call: C) -> Mailbox<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        C: Fn(AnyCache, Vec<Q>) -> F + Send + Sync + 'static,
        F: Future<Output = cache::Result<Vec<A>>> + Send + 'static,
    {
        let options = MailboxOptions {
            name,
            capacity: self.mailbox,
            batch: BATCH,
            lanes: LANES,
        };
        let (cache, breaker) = (Arc::clone(self.cache), Arc::clone(self.breaker));
        open(self.actor, options, move |questions: Vec<Q>, replies: Vec<Reply<A>>| {
            let (calling, breaker) = (call(Arc::clone(&cache), questions), Arc::clone(&breaker));
            async move {
                // The breaker opened while these waited. Dropping the replies answers them with none.
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
        })
    }
}

impl CacheHandle {
    /// Starts the actor on the current runtime. `part` shows the health of the cache.
    pub fn start(cache: &AnyCache, part: Part, mailbox: usize) -> (Actor, Self) {
        let actor = Actor::default();
        let (clock, breaker) = (Clock::default(), Arc::new(Breaker::new(part)));
        let watching = watch(Arc::clone(cache), clock.clone(), Arc::clone(&breaker));
        let stop = actor.stop.clone();
        (actor.tasks).spawn(async move { stop.run_until_cancelled(watching).await });
        let opener = MailboxOpener {
            actor: &actor,
            cache,
            breaker: &breaker,
            mailbox,
        };
        let handle = Self {
            look_ups: opener.each("cache: look up", |cache, ids| async move { look_up(&cache, ids).await }),
            fills: opener.each("cache: fill", |cache, fills: Vec<_>| async move {
                let done = vec![(); fills.len()];
                cache.fill(&fills).await.map(|()| done)
            }),
            puts: opener.each("cache: put", |cache, puts: Vec<(Vec<_>, Moment)>| async move {
                let done = vec![(); puts.len()];
                // The oldest of the moments is right for all of them.
                let Some(since) = puts.iter().map(|(_, since)| *since).min() else {
                    return Ok(done);
                };
                let entries: Vec<_> = puts.into_iter().flat_map(|(entries, _)| entries).collect();
                cache.put(&entries, since).await.map(|()| done)
            }),
            codes: opener.each("cache: by code", |cache, codes: Vec<_>| async move {
                cache.by_codes(&codes).await
            }),
            code_puts: opener.each("cache: put codes", |cache, entries: Vec<_>| async move {
                let done = vec![(); entries.len()];
                cache.put_codes(&entries).await.map(|()| done)
            }),
            clock,
            breaker: Arc::clone(&breaker),
        };
        (actor, handle)
    }

    /// Looks a work up; `None` if the cache is unavailable.
    pub async fn look_up(&self, id: WorkId) -> Option<CacheAnswer> {
        self.ask(&self.look_ups, id).await
    }

    /// Fills in a missing entry.
    pub async fn fill(&self, id: WorkId, lease: Lease, entry: Entry) {
        self.ask(&self.fills, (id, lease, entry)).await;
    }

    /// Puts entries that were committed after `since`, a moment of [`Self::now`]. Returns true if the cache has them.
    pub async fn put(&self, entries: Vec<(WorkId, Entry)>, since: Moment) -> bool {
        self.ask(&self.puts, (entries, since)).await.is_some()
    }

    /// Looks a code up. The outer `None` means that the cache is unavailable.
    pub async fn by_code(&self, code: WorkCode) -> Option<Option<ByCode>> {
        self.ask(&self.codes, code).await
    }

    /// Remembers the id or demand of a code. Returns true on success.
    pub async fn put_code(&self, code: WorkCode, known: ByCode) -> bool {
        self.ask(&self.code_puts, (code, known)).await.is_some()
    }

    /// The current time by the cache's clock, or slightly earlier; `None` while it is unknown.
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

/// An estimate of the cache's clock.
#[derive(Clone, Debug, Default)]
struct Clock(Arc<RwLock<Option<(Moment, Instant)>>>);

impl Clock {
    /// Notes the cache's time, read just now.
    fn set(&self, moment: Moment) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((moment, Instant::now()));
    }

    /// Never ahead of the cache's clock: the time was read before it was noted.
    fn now(&self) -> Option<Moment> {
        let (moment, noted) = (*self.0.read().unwrap_or_else(PoisonError::into_inner))?;
        let since = i64::try_from(noted.elapsed().as_millis()).ok()?;
        Some(Moment(moment.0.saturating_add(since)))
    }
}

/// Turns a panic in the cache into its error.
async fn contained<T>(call: impl Future<Output = cache::Result<T>>) -> cache::Result<T> {
    let broke = |_| Err(CacheError::Rejected("it panicked".to_owned()));
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(broke)
}

/// Reads the cache's clock periodically, more often while the cache is unavailable.
async fn watch(cache: AnyCache, clock: Clock, breaker: Arc<Breaker>) {
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

async fn look_up(cache: &AnyCache, ids: Vec<WorkId>) -> cache::Result<Vec<CacheAnswer>> {
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
        .map(|id| CacheAnswer {
            fresh: seen.fresh,
            found: found(id).unwrap_or(EntryOrLease::Nothing),
        })
        .collect())
}
