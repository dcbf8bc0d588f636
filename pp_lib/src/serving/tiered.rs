//! The caches of a process as one: its own memory (the near tier), then the cache that processes share. Readers see
//! neither tier; leases and moments of both travel together.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{AnyCache, Entry, Found, Lease, Moment};
use crate::domain::WorkId;
use crate::serving::recently_changed::RecentlyChanged;
use crate::serving::{CacheHandle, Seen};

/// The near cache: works in this process' own memory, kept right by the change feed.
pub struct Near {
    cache: AnyCache,
    changed: RecentlyChanged,
}

impl Near {
    /// A near cache in `cache`, in front of a shared cache whose entries are at most `staleness` old.
    pub fn new(cache: AnyCache, staleness: Duration) -> Self {
        Self {
            cache,
            changed: RecentlyChanged::remembering(2 * staleness),
        }
    }

    /// The cache, for its refresher.
    pub(super) fn cache(&self) -> &AnyCache {
        &self.cache
    }

    /// Notes works that the feed reports as changed, before their entries here are refreshed.
    pub(super) fn touched(&self, ids: &[WorkId]) {
        self.changed.note(ids.iter().copied());
    }
}

/// Both tiers.
#[derive(Clone)]
pub(super) struct TieredCache {
    near: Option<Arc<Near>>,
    shared: CacheHandle,
    /// Changes made here that the shared cache was not told of. When it returns, it may hold what was before, and count
    /// as fresh until its mark runs out.
    untold: Arc<RecentlyChanged>,
}

/// The near tier has no entry; with a lease it may be filled.
pub(super) struct Miss(Option<Lease>);

/// The places that may be filled with what the store says.
#[derive(Clone, Copy)]
pub(super) struct Leases {
    near: Option<Lease>,
    shared: Option<Lease>,
}

/// The answer of the shared tier.
pub(super) enum LookedUp {
    /// A fresh entry, which the near tier has now as well.
    Fresh(Entry),
    /// No entry, in a cache that is fresh.
    Missing(Leases),
    /// An entry or none, in a cache that is not fresh.
    NotFresh(Option<Entry>, Leases),
    /// The cache cannot be asked.
    Away(Leases),
}

/// A moment before a change, by the clock of each tier; none where it is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    near: Option<Moment>,
    shared: Option<Moment>,
}

impl Leases {
    /// Whether the shared tier will have what is filled in.
    pub(super) fn reach_all(self) -> bool {
        self.shared.is_some()
    }
}

impl TieredCache {
    pub(super) fn new(near: Option<Arc<Near>>, shared: CacheHandle, staleness: Duration) -> Self {
        Self {
            near,
            shared,
            untold: Arc::new(RecentlyChanged::remembering(staleness)),
        }
    }

    /// The entry in the near tier.
    pub(super) async fn near(&self, id: WorkId) -> Result<Entry, Miss> {
        let Some(near) = &self.near else {
            return Err(Miss(None));
        };
        let found = match near.cache.look_up(&[id]).await {
            Ok(seen) if seen.fresh => seen.found.into_iter().next(),
            _ => None,
        };
        match found {
            Some(Found::Entry(entry)) => Ok(entry),
            Some(Found::Missing(lease)) => Err(Miss(Some(lease))),
            _ => Err(Miss(None)),
        }
    }

    /// The entry in the shared tier, after the near one missed.
    pub(super) async fn look_up(&self, id: WorkId, Miss(near): Miss) -> LookedUp {
        let untold = self.untold.contains(id);
        let Some(Seen { fresh, found }) = self.shared.look_up(id).await else {
            return LookedUp::Away(Leases { near, shared: None });
        };
        match found {
            Found::Entry(entry) if fresh && !untold => {
                // Nothing would correct the near tier where the shared one does not know of a change yet.
                let unchanged = |cache: &&Arc<Near>| !cache.changed.contains(id);
                if let (Some(cache), Some(lease)) = (self.near.as_ref().filter(unchanged), near) {
                    cache.fill(id, lease, entry.clone()).await;
                }
                LookedUp::Fresh(entry)
            }
            Found::Entry(entry) => LookedUp::NotFresh(Some(entry), Leases { near, shared: None }),
            Found::Missing(lease) if fresh => {
                let shared = Some(lease);
                LookedUp::Missing(Leases { near, shared })
            }
            Found::Nothing if fresh => LookedUp::Missing(Leases { near, shared: None }),
            Found::Missing(_) | Found::Nothing => LookedUp::NotFresh(None, Leases { near, shared: None }),
        }
    }

    /// Fills in what the store said after the leases were taken.
    pub(super) async fn fill(&self, id: WorkId, leases: Leases, entry: Entry) {
        if let (Some(near), Some(lease)) = (&self.near, leases.near) {
            near.fill(id, lease, entry.clone()).await;
        }
        if let Some(lease) = leases.shared {
            self.shared.fill(id, lease, entry).await;
        }
    }

    /// Now, to be asked before a change.
    pub(super) async fn now(&self) -> Since {
        let near = match &self.near {
            Some(near) => near.cache.now().await.ok(),
            None => None,
        };
        let shared = self.shared.now();
        Since { near, shared }
    }

    /// Puts what was committed after `since`. Where the shared tier cannot be told, its entries are left out for a while.
    pub(super) async fn put(&self, entries: Vec<(WorkId, Entry)>, since: Since) {
        let ids: Vec<WorkId> = entries.iter().map(|(id, _)| *id).collect();
        if let (Some(near), Some(since)) = (&self.near, since.near) {
            // It is in memory and does not fail.
            let _ = near.cache.put(&entries, since).await;
        }
        let told = match since.shared {
            Some(since) => self.shared.put(entries, since).await,
            None => false,
        };
        if !told {
            self.untold.note(ids);
        }
    }
}

impl Near {
    async fn fill(&self, id: WorkId, lease: Lease, entry: Entry) {
        // It is in memory and does not fail.
        let _ = self.cache.fill(&[(id, lease, entry)]).await;
    }
}
