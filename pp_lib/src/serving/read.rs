//! Reading works: from a fresh cache, else from the store. Concurrent reads of one work share one store read.
//!
//! A failing cache never fails a read. A failing store fails a read only if no cache has an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{ByCode, Entry, Provisional};
use crate::domain::{Origin, Work, WorkCode, WorkId};
use crate::serving::codes::{Codes, Known};
use crate::serving::single_flight::SingleFlight;
use crate::serving::tiered::{FillLeases, Miss, Near, SharedLookUp, TierMoments, TieredCache};
use crate::serving::{ActorError, CacheHandle, StoreHandle};
use crate::store::StoreError;

/// After the store was unavailable, cached entries are served this long without asking it again.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The source of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The near cache, in this process' memory.
    Near,
    /// The cache.
    Cache,
    /// The store, because no cache had an entry.
    Store {
        /// True if the answer is being written to the cache.
        stored: bool,
        /// True if the answer came from another caller's read of the store.
        collapsed: bool,
    },
    /// The store, because the cache is not fresh.
    NotFresh,
    /// The store, because the cache is unavailable or does not hold such answers.
    Bypass,
    /// A cache that is not fresh, because the store is unavailable.
    Stale,
}

/// An answer and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// The source of the answer.
    pub source: Source,
}

impl<T> Read<T> {
    /// The same answer for a caller that joined another caller's read.
    fn collapsed(self) -> Self {
        let source = match self.source {
            Source::Store { .. } => Source::Store {
                stored: false,
                collapsed: true,
            },
            source => source,
        };
        Self { source, ..self }
    }
}

/// The work with a code, or the accepted demand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkOrDemand {
    /// The work.
    Work(Work),
    /// The accepted demand. Its work has no row yet.
    Provisional(Provisional),
}

/// Reads works through the caches.
#[derive(Clone)]
pub(super) struct Reader {
    store: StoreHandle,
    cache: TieredCache,
    codes: Codes,
    reads: Reads,
    trouble: Arc<StoreTrouble>,
    /// The maximum age of a read that other callers may join. Their answer may be this much older than their call.
    joined: Duration,
}

/// Reads under way, with the times at which they began.
type Reads = SingleFlight<WorkId, Instant, Result<Read<Option<Work>>, ActorError>>;

impl Reader {
    /// A reader whose answers are at most `staleness` old.
    pub(super) fn new(store: StoreHandle, cache: CacheHandle, near: Option<Arc<Near>>, staleness: Duration) -> Self {
        Self {
            joined: staleness / 4,
            codes: Codes::new(cache.clone()),
            cache: TieredCache::new(near, cache, staleness),
            store,
            reads: Reads::default(),
            trouble: Arc::default(),
        }
    }

    /// The work from the near cache, without waiting.
    pub(super) async fn near(&self, id: WorkId) -> Result<Read<Option<Work>>, Miss> {
        let entry = self.cache.near(id).await?;
        Ok(read(work_of(entry), Source::Near))
    }

    /// The work with this id, after the near cache missed. The call must run to its end: others may wait for its
    /// answer.
    pub(super) async fn by_id(&self, id: WorkId, miss: Miss) -> Result<Read<Option<Work>>, ActorError> {
        loop {
            let (under_way, lead) = self
                .reads
                .enter(&id, Instant::now(), |began| began.elapsed() < self.joined);
            if let Some(lead) = lead {
                let answer = self.read_through(id, miss).await;
                lead.end(answer.clone());
                return answer;
            }
            // No outcome means that the leader's runtime ended; try again.
            if let Some(answer) = under_way.outcome().await {
                return answer.map(Read::collapsed);
            }
        }
    }

    /// The work with this id, from the near cache or as [`Self::by_id`] reads it.
    pub(super) async fn nearest(&self, id: WorkId) -> Result<Read<Option<Work>>, ActorError> {
        match self.near(id).await {
            Ok(read) => Ok(read),
            Err(miss) => self.by_id(id, miss).await,
        }
    }

    /// Reads the cache, else the store. Only the leader of a read fills the caches: the lease of a caller that joined
    /// may be younger than the data.
    async fn read_through(&self, id: WorkId, miss: Miss) -> Result<Read<Option<Work>>, ActorError> {
        match self.cache.look_up(id, miss).await {
            SharedLookUp::Fresh(entry) => Ok(read(work_of(entry), Source::Cache)),
            SharedLookUp::Missing(leases) => {
                let source = Source::Store {
                    stored: leases.reach_shared(),
                    collapsed: false,
                };
                Ok(read(self.read_store(id, leases).await?, source))
            }
            SharedLookUp::NotFresh(entry, leases) => self.store_or_stale(id, entry, leases).await,
            SharedLookUp::Away(leases) => Ok(read(self.read_store(id, leases).await?, Source::Bypass)),
        }
    }

    pub(super) fn codes(&self) -> &Codes {
        &self.codes
    }

    /// The work with this code, or the accepted demand for it.
    pub(super) async fn by_code(&self, code: WorkCode) -> Result<Read<Option<WorkOrDemand>>, ActorError> {
        let known = self.codes.known(&code).await;
        if let Known::Found(ByCode::Id(id)) = known {
            let Read { value, source } = self.nearest(id).await?;
            return Ok(read(value.map(WorkOrDemand::Work), source));
        }
        let may_be_demanded = code.origin() == Origin::Consumer;
        match (self.store.by_code(code.clone()).await, known) {
            (Ok(Some(work)), _) => {
                let stored = self.codes.remember(code, ByCode::Id(work.id)).await;
                let collapsed = false;
                Ok(read(
                    Some(WorkOrDemand::Work(work)),
                    Source::Store { stored, collapsed },
                ))
            }
            (Ok(None), Known::Found(ByCode::Provisional(demand))) => {
                Ok(read(Some(WorkOrDemand::Provisional(demand)), Source::Cache))
            }
            (Ok(None), Known::CacheAway) if may_be_demanded => Err(ActorError::Unsure),
            (Ok(None), _) => Ok(read(None, Source::Bypass)),
            (Err(error), Known::Found(ByCode::Provisional(demand))) if is_away(&error) => {
                Ok(read(Some(WorkOrDemand::Provisional(demand)), Source::Stale))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Reads the store while the cache is not fresh. The cached entry is the fallback if the store is unavailable.
    async fn store_or_stale(
        &self,
        id: WorkId,
        entry: Option<Entry>,
        leases: FillLeases,
    ) -> Result<Read<Option<Work>>, ActorError> {
        let stale = match entry {
            Some(Entry::Work(work)) => Some(read(Some(work), Source::Stale)),
            Some(Entry::Deleted) => Some(read(None, Source::Stale)),
            Some(Entry::Unknown) | None => None,
        };
        if let Some(stale) = stale.clone().filter(|_| self.trouble.is_recent()) {
            return Ok(stale);
        }
        match (self.read_store(id, leases).await, stale) {
            (Ok(work), _) => Ok(read(work, Source::NotFresh)),
            (Err(error), Some(stale)) if is_away(&error) => {
                self.trouble.note();
                Ok(stale)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn read_store(&self, id: WorkId, leases: FillLeases) -> Result<Option<Work>, ActorError> {
        let work = self.store.by_id(id).await?;
        let entry = work.clone().map_or(Entry::Unknown, Entry::Work);
        self.cache.fill(id, leases, entry).await;
        Ok(work)
    }

    /// The current time by the clocks of the caches. Take it before a change.
    pub(super) async fn now(&self) -> TierMoments {
        self.cache.now().await
    }

    /// Makes entries committed after `since` visible to the next read: puts them into the caches, or bypasses the
    /// caches for them. Reads that began earlier are no longer joined.
    pub(super) async fn written(&self, entries: Vec<(WorkId, Entry)>, since: TierMoments) {
        let ids: Vec<WorkId> = entries.iter().map(|(id, _)| *id).collect();
        self.cache.put(entries, since).await;
        ids.iter().for_each(|id| self.reads.detach(id));
    }
}

fn read<T>(value: T, source: Source) -> Read<T> {
    Read { value, source }
}

fn work_of(entry: Entry) -> Option<Work> {
    match entry {
        Entry::Work(work) => Some(work),
        Entry::Unknown | Entry::Deleted => None,
    }
}

fn is_away(error: &ActorError) -> bool {
    matches!(error, ActorError::Store(error) if !matches!(error, StoreError::Rejected(_)))
}

/// The time of the store's last failure.
#[derive(Debug, Default)]
struct StoreTrouble(Mutex<Option<Instant>>);

impl StoreTrouble {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < STORE_RETRY_DELAY)
    }
}
