//! The two cache tiers of a process as one cache: the near tier in its own memory, then the tier that processes share.
//! Readers see neither tier; leases and moments of both travel together.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{AnyCache, Entry, EntryOrLease, Lease, Moment};
use crate::domain::WorkId;
use crate::serving::recently_changed::RecentlyChanged;
use crate::serving::{CacheAnswer, CacheHandle};

/// The near cache: works in this process' own memory, kept up to date by the change feed.
pub struct Near {
    cache: AnyCache,
    changed: RecentlyChanged,
}

impl Near {
    /// A near cache in `cache`, in front of a shared cache whose entries are at most `staleness` old.
    pub fn new(cache: AnyCache, staleness: Duration) -> Self {
        Self {
            cache,
            changed: RecentlyChanged::new(2 * staleness),
        }
    }

    /// The underlying cache, for its refresher.
    pub(super) fn cache(&self) -> &AnyCache {
        &self.cache
    }

    /// Notes works that the feed reports as changed. Call it before their entries are refreshed.
    pub(super) fn touched(&self, ids: &[WorkId]) {
        self.changed.note(ids.iter().copied());
    }
}

#[derive(Clone)]
pub(super) struct TieredCache {
    near: Option<Arc<Near>>,
    shared: CacheHandle,
    /// Works changed here while the shared cache was unavailable. When it returns, it may hold their old entries and
    /// count as fresh until its mark runs out.
    missed_by_shared: Arc<RecentlyChanged>,
}

/// A miss of the near tier. The lease, if any, allows filling it.
pub(super) struct Miss(Option<Lease>);

/// The leases for filling both tiers with the store's answer.
#[derive(Clone, Copy)]
pub(super) struct FillLeases {
    near: Option<Lease>,
    shared: Option<Lease>,
}

/// The answer of the shared tier.
pub(super) enum SharedLookUp {
    /// A fresh entry. The near tier now has it as well, if its lease allowed it.
    Fresh(Entry),
    /// The cache is fresh and has no entry.
    Missing(FillLeases),
    /// The cache is not fresh. It may have an entry.
    NotFresh(Option<Entry>, FillLeases),
    /// The cache is unavailable.
    Away(FillLeases),
}

/// A moment before a change, by the clock of each tier. `None` means that the clock is unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct TierMoments {
    near: Option<Moment>,
    shared: Option<Moment>,
}

impl FillLeases {
    /// True if the fill will reach the shared tier.
    pub(super) fn reach_shared(self) -> bool {
        self.shared.is_some()
    }
}

impl TieredCache {
    pub(super) fn new(near: Option<Arc<Near>>, shared: CacheHandle, staleness: Duration) -> Self {
        Self {
            near,
            shared,
            missed_by_shared: Arc::new(RecentlyChanged::new(staleness)),
        }
    }

    /// Looks a work up in the near tier.
    pub(super) async fn near(&self, id: WorkId) -> Result<Entry, Miss> {
        let Some(near) = &self.near else {
            return Err(Miss(None));
        };
        let found = match near.cache.look_up(&[id]).await {
            Ok(seen) if seen.fresh => seen.found.into_iter().next(),
            _ => None,
        };
        match found {
            Some(EntryOrLease::Entry(entry)) => Ok(entry),
            Some(EntryOrLease::Missing(lease)) => Err(Miss(Some(lease))),
            _ => Err(Miss(None)),
        }
    }

    /// Looks a work up in the shared tier, after the near one missed.
    pub(super) async fn look_up(&self, id: WorkId, Miss(near): Miss) -> SharedLookUp {
        let outdated = self.missed_by_shared.contains(id);
        let Some(CacheAnswer { fresh, found }) = self.shared.look_up(id).await else {
            return SharedLookUp::Away(FillLeases { near, shared: None });
        };
        match found {
            EntryOrLease::Entry(entry) if fresh && !outdated => {
                // The shared tier may not know of this change yet, and nothing would correct the near one later.
                let unchanged = |cache: &&Arc<Near>| !cache.changed.contains(id);
                if let (Some(cache), Some(lease)) = (self.near.as_ref().filter(unchanged), near) {
                    cache.fill(id, lease, entry.clone()).await;
                }
                SharedLookUp::Fresh(entry)
            }
            EntryOrLease::Entry(entry) => SharedLookUp::NotFresh(Some(entry), FillLeases { near, shared: None }),
            EntryOrLease::Missing(lease) if fresh => {
                let shared = Some(lease);
                SharedLookUp::Missing(FillLeases { near, shared })
            }
            EntryOrLease::Nothing if fresh => SharedLookUp::Missing(FillLeases { near, shared: None }),
            EntryOrLease::Missing(_) | EntryOrLease::Nothing => {
                SharedLookUp::NotFresh(None, FillLeases { near, shared: None })
            }
        }
    }

    /// Fills both tiers with a store answer that was read after the leases were taken.
    pub(super) async fn fill(&self, id: WorkId, leases: FillLeases, entry: Entry) {
        if let (Some(near), Some(lease)) = (&self.near, leases.near) {
            near.fill(id, lease, entry.clone()).await;
        }
        if let Some(lease) = leases.shared {
            self.shared.fill(id, lease, entry).await;
        }
    }

    /// The current time of both tiers. Take it before a change.
    pub(super) async fn now(&self) -> TierMoments {
        let near = match &self.near {
            Some(near) => near.cache.now().await.ok(),
            None => None,
        };
        let shared = self.shared.now();
        TierMoments { near, shared }
    }

    /// Puts entries that were committed after `since`. If the shared tier fails, it is bypassed for these works for a
    /// while.
    pub(super) async fn put(&self, entries: Vec<(WorkId, Entry)>, since: TierMoments) {
        let ids: Vec<WorkId> = entries.iter().map(|(id, _)| *id).collect();
        if let (Some(near), Some(since)) = (&self.near, since.near) {
            // A cache in memory does not fail.
            let _ = near.cache.put(&entries, since).await;
        }
        let stored = match since.shared {
            Some(since) => self.shared.put(entries, since).await,
            None => false,
        };
        if !stored {
            self.missed_by_shared.note(ids);
        }
    }
}

impl Near {
    async fn fill(&self, id: WorkId, lease: Lease, entry: Entry) {
        // A cache in memory does not fail.
        let _ = self.cache.fill(&[(id, lease, entry)]).await;
    }
}
