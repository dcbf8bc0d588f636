//! Works are read: from a cache while it is fresh, else from the store, once for all who ask at the same time.
//!
//! Trouble with a cache is never an error here, and trouble with the store is none while a cache knows an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{ByCode, Entry, Provisional};
use crate::domain::{Origin, Work, WorkCode, WorkId};
use crate::serving::codes::{Codes, Known};
use crate::serving::single_flight::SingleFlight;
use crate::serving::tiered::{Leases, LookedUp, Miss, Near, Since, TieredCache};
use crate::serving::{ActorError, CacheHandle, StoreHandle};
use crate::store::StoreError;

/// How long the store is not asked for what a cache has, once it could not be reached.
const RESPITE: Duration = Duration::from_secs(1);

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This process' own memory.
    Near,
    /// The cache.
    Cache,
    /// The store, since no cache had it; whether it is in the cache now.
    Store {
        /// Whether it is about to be there.
        stored: bool,
        /// Whether somebody else's read of the store answered this one, too.
        collapsed: bool,
    },
    /// The store, since the cache is not fresh.
    NotFresh,
    /// The store, since the cache cannot be reached or does not keep such things.
    Bypass,
    /// The cache, though it is not fresh: the store cannot be reached.
    Stale,
}

/// An answer and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

impl<T> Read<T> {
    /// The same for somebody who waited for another one's read.
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

/// What there is under a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coded {
    /// A work.
    Work(Work),
    /// A demand that was accepted; its work is not written yet.
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
    /// The age up to which others join a read that is under way: they get what was true when they asked, or this shortly
    /// before.
    joined: Duration,
}

/// Reads under way, with when they began.
type Reads = SingleFlight<WorkId, Instant, Result<Read<Option<Work>>, ActorError>>;

impl Reader {
    /// Reads that are at most `staleness` old.
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

    /// The work from this process' own memory, without waiting for anything.
    pub(super) async fn at_hand(&self, id: WorkId) -> Result<Read<Option<Work>>, Miss> {
        let entry = self.cache.near(id).await?;
        Ok(read(work_of(entry), Source::Near))
    }

    /// The work with this id, which is not at hand. The call must run to its end: others may wait for its answer.
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
            // The leader may have ended with its runtime.
            if let Some(answer) = under_way.outcome().await {
                return answer.map(Read::collapsed);
            }
        }
    }

    /// The work with this id, from wherever it is found first.
    pub(super) async fn nearest(&self, id: WorkId) -> Result<Read<Option<Work>>, ActorError> {
        match self.at_hand(id).await {
            Ok(read) => Ok(read),
            Err(miss) => self.by_id(id, miss).await,
        }
    }

    /// From the cache, else from the store. Only the leader of a read fills it in: the lease of one who joined may be
    /// younger than what was read.
    async fn read_through(&self, id: WorkId, miss: Miss) -> Result<Read<Option<Work>>, ActorError> {
        match self.cache.look_up(id, miss).await {
            LookedUp::Fresh(entry) => Ok(read(work_of(entry), Source::Cache)),
            LookedUp::Missing(leases) => {
                let source = Source::Store {
                    stored: leases.reach_all(),
                    collapsed: false,
                };
                Ok(read(self.read_store(id, leases).await?, source))
            }
            LookedUp::NotFresh(entry, leases) => self.beside_the_cache(id, entry, leases).await,
            LookedUp::Away(leases) => Ok(read(self.read_store(id, leases).await?, Source::Bypass)),
        }
    }

    /// What is known by code.
    pub(super) fn codes(&self) -> &Codes {
        &self.codes
    }

    /// The work with this code, or the demand for it.
    pub(super) async fn by_code(&self, code: WorkCode) -> Result<Read<Option<Coded>>, ActorError> {
        let known = self.codes.known(&code).await;
        if let Known::As(ByCode::Id(id)) = known {
            let Read { value, source } = self.nearest(id).await?;
            return Ok(read(value.map(Coded::Work), source));
        }
        let may_be_demanded = code.origin() == Origin::Consumer;
        match (self.store.by_code(code.clone()).await, known) {
            (Ok(Some(work)), _) => {
                let stored = self.codes.remember(code, ByCode::Id(work.id)).await;
                let collapsed = false;
                Ok(read(Some(Coded::Work(work)), Source::Store { stored, collapsed }))
            }
            (Ok(None), Known::As(ByCode::Provisional(demand))) => {
                Ok(read(Some(Coded::Provisional(demand)), Source::Cache))
            }
            (Ok(None), Known::Unsure) if may_be_demanded => Err(ActorError::Unsure),
            (Ok(None), _) => Ok(read(None, Source::Bypass)),
            (Err(error), Known::As(ByCode::Provisional(demand))) if is_away(&error) => {
                Ok(read(Some(Coded::Provisional(demand)), Source::Stale))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The cache is not fresh: it is the answer only when there is no other.
    async fn beside_the_cache(
        &self,
        id: WorkId,
        entry: Option<Entry>,
        leases: Leases,
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

    async fn read_store(&self, id: WorkId, leases: Leases) -> Result<Option<Work>, ActorError> {
        let work = self.store.by_id(id).await?;
        let entry = work.clone().map_or(Entry::Unknown, Entry::Work);
        self.cache.fill(id, leases, entry).await;
        Ok(work)
    }

    /// Now, by the clocks of the caches: to be asked before a change.
    pub(super) async fn now(&self) -> Since {
        self.cache.now().await
    }

    /// Makes what was committed after `since` what the next read finds: it is in the caches, or they are left out for it,
    /// and no one joins a read that began before.
    pub(super) async fn written(&self, entries: Vec<(WorkId, Entry)>, since: Since) {
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

/// When the store could not be reached, last.
#[derive(Debug, Default)]
struct StoreTrouble(Mutex<Option<Instant>>);

impl StoreTrouble {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < RESPITE)
    }
}
