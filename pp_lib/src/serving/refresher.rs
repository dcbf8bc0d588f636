//! The refresher: follows the change feed and keeps a cache right.
//!
//! It brings up to date what is present and brings nothing in. Its place in the feed is kept in the cache itself, beside
//! the entries: a cache that lost its last seconds says so by its place, and what it missed is read again. A cache that
//! is nowhere is cleared, since nobody knows what is in it. After each round that caught up, the cache is marked as fresh
//! since that round began; every way of not catching up - a listener that was cut off, a frozen process, a cache or a
//! database that cannot be reached - ends in a mark that runs out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cache::{AnyCache, CacheError, Entry, Marked, Moment};
use crate::domain::{Position, WorkId};
use crate::feed::{AnyFeed, Waiter};
use crate::runtime::Part;
use crate::runtime::{Retry, Trouble, new_message_id};
use crate::serving::tiered::Near;
use crate::store::{AnyStore, Page, StoreError};

/// So many events are read at once.
const PAGE: u16 = 1000;
/// Rounds are this far apart at least, however often the feed is poked.
const PAUSE: Duration = Duration::from_millis(5);
/// What the names of the leases of those who refresh a shared cache begin with; the name of the cache follows. The lease is a
/// row of the database, and several caches may be kept from one database.
const LEASES: &str = "refresher/";
/// A mark that leaves the cache as fresh as it was.
const LONG_AGO: Moment = Moment(0);

/// Keeps one cache right.
#[derive(Clone)]
pub struct Refresher {
    store: AnyStore,
    cache: AnyCache,
    feed: AnyFeed,
    staleness: Duration,
    near: Option<Arc<Near>>,
    /// Who this is, where one does it for all.
    holder: Option<String>,
}

/// Why a round did not end.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Trouble for RoundError {
    fn told(&self) -> &'static str {
        match self {
            Self::Store(error) => error.told(),
            Self::Cache(_) => "the cache is unavailable",
        }
    }
}

/// Where a refresher is.
#[derive(Default)]
struct State {
    /// Its place in the feed.
    place: Option<Position>,
    /// The lease that it took last.
    lease: Option<String>,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The cache is marked.
    CaughtUp,
    /// There is more to read.
    More,
}

impl Refresher {
    /// For a cache that may be so stale. Of those who share a cache, one works at a time.
    pub fn new(store: AnyStore, cache: AnyCache, feed: AnyFeed, staleness: Duration) -> Self {
        let holder = cache.shared().then(|| new_message_id().to_string());
        Self {
            store,
            cache,
            feed,
            staleness,
            near: None,
            holder,
        }
    }

    /// For a near cache.
    pub fn of_near(store: AnyStore, near: Arc<Near>, feed: AnyFeed, staleness: Duration) -> Self {
        let cache = Arc::clone(near.cache());
        Self {
            near: Some(near),
            ..Self::new(store, cache, feed, staleness)
        }
    }

    /// Works until the shutdown; `part` shows whether it can.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let mut waiter = self.feed.watch();
        let mut patience = Retry::shown("refreshing the cache", part);
        let mut state = State::default();
        while !shutdown.is_cancelled() {
            let rounds = self.rounds(&mut state, &mut waiter, &mut patience);
            if let Some(Err(error)) = shutdown.run_until_cancelled(rounds).await {
                patience.wait(&error, &shutdown).await;
            }
        }
        self.let_go(state.lease).await;
    }

    /// Takes part for a while: as long as a lease is good for. What is under way is given up when it takes longer.
    async fn rounds(&self, state: &mut State, waiter: &mut Waiter, patience: &mut Retry) -> Result<(), RoundError> {
        let term = self.term();
        if let Some(holder) = &self.holder {
            // Asked for each time: a cache that was emptied has another name, and with it another lease.
            let lease = state.lease.insert(format!("{LEASES}{}", self.cache.name().await?));
            if !self.store.hold(lease, holder, 2 * term).await? {
                // Another one does it. Whoever takes over begins where the cache is by then.
                state.place = None;
                patience.recovered();
                sleep(term / 2).await;
                return Ok(());
            }
        }
        let round = async {
            loop {
                let began = Instant::now();
                let round = self.round(&mut state.place).await?;
                patience.recovered();
                if round == Round::More {
                    continue;
                }
                // Once it has caught up it is busy half of the time at most.
                sleep(PAUSE.max(began.elapsed())).await;
                let _ = timeout(self.staleness / 4, waiter.changed()).await;
            }
        };
        // An error within the term is one; its end is not.
        timeout(term, round).await.unwrap_or(Ok(()))
    }

    /// How often the lease is extended, which lasts twice as long.
    fn term(&self) -> Duration {
        self.staleness.max(Duration::from_millis(500))
    }

    /// Reads a page of the feed, refreshes what it tells of, and says so.
    async fn round(&self, place: &mut Option<Position>) -> Result<Round, RoundError> {
        // Before anything is read: what the cache is fresh since.
        let since = self.cache.now().await?;
        let from = match place.clone() {
            Some(from) => from,
            None => self.begin().await?,
        };
        let Some(page) = self.store.touched(&from, PAGE).await? else {
            log::warn!("the change feed cannot be continued from {from}: the cache is emptied");
            let head = self.store.head().await?;
            self.cache.clear(&head).await?;
            *place = Some(head);
            return Ok(Round::More);
        };
        self.refresh(&page).await?;
        let since = if page.complete { since } else { LONG_AGO };
        let (round, at) = match self.cache.mark(&from, &page.position, since).await? {
            Marked::Marked if page.complete => (Round::CaughtUp, Some(page.position)),
            Marked::Marked => (Round::More, Some(page.position)),
            Marked::At(position) => (Round::More, Some(position)),
            Marked::Nowhere => (Round::More, None),
        };
        *place = at;
        Ok(round)
    }

    /// Where the cache is, or now, with an empty cache.
    async fn begin(&self) -> Result<Position, RoundError> {
        if let Some(position) = self.cache.position().await? {
            return Ok(position);
        }
        let head = self.store.head().await?;
        self.cache.clear(&head).await?;
        Ok(head)
    }

    async fn refresh(&self, page: &Page<WorkId>) -> Result<(), RoundError> {
        if page.items.is_empty() {
            return Ok(());
        }
        if let Some(near) = &self.near {
            near.touched(&page.items);
        }
        let present = self.cache.present(&page.items).await?;
        let present: Vec<WorkId> = (page.items.iter().zip(present))
            .filter_map(|(id, present)| present.then_some(*id))
            .collect();
        if present.is_empty() {
            return Ok(());
        }
        let works = self.store.by_ids(&present).await?;
        let there: HashSet<WorkId> = works.iter().map(|work| work.id).collect();
        let gone = present.iter().filter(|id| !there.contains(id));
        let mut entries: Vec<(WorkId, Entry)> = gone.map(|id| (*id, Entry::Deleted)).collect();
        entries.extend(works.into_iter().map(|work| (work.id, Entry::Work(work))));
        self.cache.refresh(&entries).await?;
        Ok(())
    }

    /// The next one need not wait for the end of the lease.
    async fn let_go(&self, lease: Option<String>) {
        if let (Some(holder), Some(lease)) = (&self.holder, lease) {
            let released = timeout(Duration::from_secs(1), self.store.release(&lease, holder)).await;
            if let Ok(Err(error)) = released {
                log::debug!("the refresher's lease runs out by itself: {error}");
            }
        }
    }
}
