//! The refresher follows the change feed and keeps a cache up to date.
//!
//! It updates entries that are present and adds none. Its position in the feed is kept in the cache itself, beside the
//! entries: a cache that lost its last seconds has an older position, from which the refresher reads again. A cache
//! without a position is cleared, because its content is unknown. After each round that caught up, the cache is marked
//! as fresh since the start of that round. If the refresher cannot catch up - a listener that was cut off, a frozen
//! process, an unreachable cache or database - the mark runs out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cache::{AnyCache, CacheError, Entry, Marked, Moment};
use crate::domain::{PART_BYTES, Position, Work, WorkId, is_full};
use crate::feed::{AnyFeed, Waiter};
use crate::runtime::{Part, Retry, Trouble, new_message_id};
use crate::serving::metrics::RefresherMeter;
use crate::serving::tiered::Near;
use crate::store::{AnyStore, Page, StoreError};

/// The maximum number of events per read.
const PAGE: u16 = 1000;
/// The minimum pause between rounds.
const PAUSE: Duration = Duration::from_millis(5);
/// The prefix of the refreshers' lease names; the name of the cache follows, because one database may serve several
/// caches.
const LEASE_PREFIX: &str = "refresher/";
/// A mark that leaves the cache as fresh as it was.
const LONG_AGO: Moment = Moment(0);

/// Keeps one cache up to date.
#[derive(Clone)]
pub struct Refresher {
    store: AnyStore,
    cache: AnyCache,
    feed: AnyFeed,
    staleness: Duration,
    near: Option<Arc<Near>>,
    /// This refresher's name as a lease holder, if the cache is shared.
    holder: Option<String>,
    meter: RefresherMeter,
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Trouble for RoundError {
    fn summary(&self) -> &'static str {
        match self {
            Self::Store(error) => error.summary(),
            Self::Cache(_) => "the cache is unavailable",
        }
    }
}

/// The progress of a refresher.
#[derive(Default)]
struct State {
    /// Its position in the feed.
    place: Option<Position>,
    /// The name of the lease it took last.
    lease: Option<String>,
    /// The beginning of the round that marked the cache last, in this term.
    marked: Option<Instant>,
}

/// The end of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The cache is marked.
    CaughtUp,
    /// The feed has more to read.
    More,
}

impl Refresher {
    /// A refresher for a cache of this staleness. Of the refreshers of a shared cache, one works at a time.
    pub fn new(store: AnyStore, cache: AnyCache, feed: AnyFeed, staleness: Duration) -> Self {
        let holder = cache.shared().then(|| new_message_id().to_string());
        Self {
            store,
            cache,
            feed,
            staleness,
            near: None,
            holder,
            meter: RefresherMeter::new("cache"),
        }
    }

    /// A refresher for a near cache.
    pub fn for_near(store: AnyStore, near: Arc<Near>, feed: AnyFeed, staleness: Duration) -> Self {
        let cache = Arc::clone(near.cache());
        Self {
            near: Some(near),
            meter: RefresherMeter::new("near"),
            ..Self::new(store, cache, feed, staleness)
        }
    }

    /// Refreshes until the shutdown. `part` shows its health.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let mut waiter = self.feed.watch();
        let mut retry = Retry::shown("refreshing the cache", part);
        let mut state = State::default();
        while !shutdown.is_cancelled() {
            let rounds = self.rounds(&mut state, &mut waiter, &mut retry);
            if let Some(Err(error)) = shutdown.run_until_cancelled(rounds).await {
                retry.wait(&error, &shutdown).await;
            }
        }
        self.release(state.lease).await;
    }

    /// Takes the lease and refreshes for one term. A round that exceeds the term is abandoned.
    async fn rounds(&self, state: &mut State, waiter: &mut Waiter, retry: &mut Retry) -> Result<(), RoundError> {
        let term = self.term();
        if let Some(holder) = &self.holder {
            // Read each time: a cache that was emptied has a new name, and so another lease.
            let lease = state
                .lease
                .insert(format!("{LEASE_PREFIX}{}", self.cache.name().await?));
            if !self.store.hold(lease, holder, 2 * term).await? {
                // Another refresher has the lease. The next term starts from the cache's own position.
                (state.place, state.marked) = (None, None);
                retry.recovered();
                sleep(term / 2).await;
                return Ok(());
            }
        }
        let round = async {
            loop {
                let began = Instant::now();
                let round = self.round(&mut state.place).await?;
                retry.recovered();
                if round == Round::More {
                    continue;
                }
                self.meter
                    .marked(state.marked.replace(began).map(|marked| marked.elapsed()));
                // After catching up, rounds take at most half of the time.
                sleep(PAUSE.max(began.elapsed())).await;
                let _ = timeout(self.staleness / 4, waiter.changed()).await;
            }
        };
        // The end of the term is no error.
        timeout(term, round).await.unwrap_or(Ok(()))
    }

    /// The time between extensions of the lease, which lasts twice as long.
    fn term(&self) -> Duration {
        self.staleness.max(Duration::from_millis(500))
    }

    /// Reads a page of the feed, refreshes its works, and marks the cache.
    async fn round(&self, place: &mut Option<Position>) -> Result<Round, RoundError> {
        // Taken before the read: the cache will be fresh since this moment.
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

    /// The cache's position. A cache without one is cleared and starts at the head of the feed.
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
        let mut left: Vec<WorkId> = (page.items.iter().zip(present))
            .filter_map(|(id, present)| present.then_some(*id))
            .collect();
        while !left.is_empty() {
            let works = self.store.by_ids(&left).await?;
            let there: HashSet<WorkId> = works.iter().map(|work| work.id).collect();
            left.retain(|id| !there.contains(id));
            let mut entries = Vec::with_capacity(works.len());
            if !is_full(&works, PART_BYTES, Work::bytes) {
                // Nothing was cut off, so the others are gone.
                entries.extend(left.drain(..).map(|id| (id, Entry::Deleted)));
            }
            entries.extend(works.into_iter().map(|work| (work.id, Entry::Work(work))));
            self.cache.refresh(&entries).await?;
        }
        Ok(())
    }

    /// Releases the lease, so that the next refresher need not wait for its end.
    async fn release(&self, lease: Option<String>) {
        if let (Some(holder), Some(lease)) = (&self.holder, lease) {
            let released = timeout(Duration::from_secs(1), self.store.release(&lease, holder)).await;
            if let Ok(Err(error)) = released {
                log::debug!("the refresher's lease runs out by itself: {error}");
            }
        }
    }
}
