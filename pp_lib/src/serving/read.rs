//! Works are read: from a cache while it is fresh, else from the store, once for all who ask at the same time.
//!
//! Trouble with a cache is never an error here, and trouble with the store is none while a cache knows an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{ByCode, Entry, Found, Lease, Moment, Provisional};
use crate::domain::{Origin, Work, WorkCode, WorkId};
use crate::serving::codes::{Codes, Known};
use crate::serving::near::{self, Near};
use crate::serving::recently_changed::Lately;
use crate::serving::single_flight::Flights;
use crate::serving::{ActorError, CacheHandle, Seen, StoreHandle};
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

/// Reads works.
#[derive(Clone)]
pub(crate) struct Reader {
    store: StoreHandle,
    cache: CacheHandle,
    codes: Codes,
    near: Option<Arc<Near>>,
    reads: Reads,
    trouble: Arc<StoreTrouble>,
    /// What was changed here while the cache could not be told: it may come back with what was before, and count as
    /// fresh until its mark runs out.
    untold: Arc<Lately>,
    /// How old a read may be that others join: what they get was true when they asked, or this shortly before.
    joined: Duration,
}

/// Reads under way, with when they began.
type Reads = Flights<WorkId, Instant, Result<Read<Option<Work>>, ActorError>>;

/// The places where the answer of the store is missing.
#[derive(Clone, Copy)]
struct Leases {
    near: Option<Lease>,
    shared: Option<Lease>,
}

/// A moment before a change, by the clock of each cache; none where it is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    near: Option<Moment>,
    shared: Option<Moment>,
}

impl Reader {
    /// Reads that may be so stale.
    pub(crate) fn new(store: StoreHandle, cache: CacheHandle, near: Option<Arc<Near>>, staleness: Duration) -> Self {
        Self {
            untold: Arc::new(Lately::remembering(staleness)),
            joined: staleness / 4,
            codes: Codes::new(cache.clone()),
            store,
            cache,
            near,
            reads: Reads::default(),
            trouble: Arc::default(),
        }
    }

    /// What this process has in its own memory; else the place where it is missing there.
    pub(crate) async fn near(&self, id: WorkId) -> Result<Read<Option<Work>>, Option<Lease>> {
        let Some(near) = &self.near else {
            return Err(None);
        };
        match near.look_up(id).await {
            near::Seen::Entry(entry) => Ok(read(work_of(entry), Source::Near)),
            near::Seen::Nothing(lease) => Err(lease),
        }
    }

    /// The work with this id, which is missing nearby. Not to be given up: others may wait for the answer.
    pub(crate) async fn by_id(&self, id: WorkId, lease: Option<Lease>) -> Result<Read<Option<Work>>, ActorError> {
        loop {
            let (under_way, lead) = self
                .reads
                .enter(&id, Instant::now(), |began| began.elapsed() < self.joined);
            if let Some(lead) = lead {
                let answer = self.read_through(id, lease).await;
                lead.end(answer.clone());
                return answer;
            }
            // Whoever led it may have ended with its runtime.
            if let Some(answer) = under_way.outcome().await {
                return answer.map(Read::collapsed);
            }
        }
    }

    /// The work with this id, from wherever it is found first.
    pub(crate) async fn nearest(&self, id: WorkId) -> Result<Read<Option<Work>>, ActorError> {
        match self.near(id).await {
            Ok(read) => Ok(read),
            Err(lease) => self.by_id(id, lease).await,
        }
    }

    /// From the cache, else from the store. Only who reads it fills it in: a lease of who joined may be younger than
    /// what was read.
    async fn read_through(&self, id: WorkId, near: Option<Lease>) -> Result<Read<Option<Work>>, ActorError> {
        match self.look_up(id).await {
            Some(Seen {
                fresh: true,
                found: Found::Entry(entry),
            }) => {
                if let Some(cache) = &self.near {
                    cache.fill_from_shared(id, near, entry.clone()).await;
                }
                Ok(read(work_of(entry), Source::Cache))
            }
            Some(Seen { fresh: true, found }) => {
                let leases = Leases {
                    near,
                    shared: lease_of(&found),
                };
                let source = Source::Store {
                    stored: leases.shared.is_some(),
                    collapsed: false,
                };
                Ok(read(self.read_store(id, leases).await?, source))
            }
            Some(Seen { fresh: false, found }) => self.beside_the_cache(id, near, found).await,
            None => {
                let leases = Leases { near, shared: None };
                Ok(read(self.read_store(id, leases).await?, Source::Bypass))
            }
        }
    }

    /// What is known by code.
    pub(crate) fn codes(&self) -> &Codes {
        &self.codes
    }

    /// What the cache says, and whether that may be served.
    async fn look_up(&self, id: WorkId) -> Option<Seen> {
        let untold = self.untold.contains(id);
        let mut seen = self.cache.look_up(id).await?;
        seen.fresh &= !(untold && matches!(seen.found, Found::Entry(_)));
        Some(seen)
    }

    /// The work with this code, or the demand for it.
    pub(crate) async fn by_code(&self, code: WorkCode) -> Result<Read<Option<Coded>>, ActorError> {
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
        near: Option<Lease>,
        found: Found,
    ) -> Result<Read<Option<Work>>, ActorError> {
        let stale = match found {
            Found::Entry(Entry::Work(work)) => Some(read(Some(work), Source::Stale)),
            Found::Entry(Entry::Deleted) => Some(read(None, Source::Stale)),
            _ => None,
        };
        if let Some(stale) = stale.clone().filter(|_| self.trouble.is_recent()) {
            return Ok(stale);
        }
        match (self.read_store(id, Leases { near, shared: None }).await, stale) {
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
        self.fill(id, leases, entry).await;
        Ok(work)
    }

    async fn fill(&self, id: WorkId, leases: Leases, entry: Entry) {
        if let Some(near) = &self.near {
            near.fill(id, leases.near, entry.clone()).await;
        }
        if let Some(lease) = leases.shared {
            self.cache.fill(id, lease, entry).await;
        }
    }

    /// Now, by the clocks of the caches: to be asked before a change.
    pub(crate) async fn now(&self) -> Since {
        let near = match &self.near {
            Some(near) => near.now().await,
            None => None,
        };
        let shared = self.cache.now();
        Since { near, shared }
    }

    /// What was committed is what the next one reads: it is in the caches, or they are left out for it, and nobody joins
    /// a read that began before.
    pub(crate) async fn written(&self, entries: Vec<(WorkId, Entry)>, since: Since) {
        let ids: Vec<WorkId> = entries.iter().map(|(id, _)| *id).collect();
        if let (Some(near), Some(since)) = (&self.near, since.near) {
            near.put(&entries, since).await;
        }
        let told = match since.shared {
            Some(since) => self.cache.put(entries, since).await,
            None => false,
        };
        if !told {
            self.untold.note(ids.iter().copied());
        }
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

fn lease_of(found: &Found) -> Option<Lease> {
    match found {
        Found::Missing(lease) => Some(*lease),
        Found::Entry(_) | Found::Nothing => None,
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
