//! The near cache: works in this process' own memory, in front of a shared cache, kept right by the change feed.

use std::time::Duration;

use crate::cache::{AnyCache, Entry, Found, Lease, Moment};
use crate::domain::WorkId;
use crate::serving::recently_changed::Lately;

/// The near cache of a process.
pub struct Near {
    cache: AnyCache,
    changed: Lately,
}

/// What the near cache says about a work.
pub(super) enum Seen {
    /// This.
    Entry(Entry),
    /// Nothing; with a lease it may be filled in.
    Nothing(Option<Lease>),
}

impl Near {
    /// Over a cache in memory. What the shared cache says may be so stale.
    pub fn new(cache: AnyCache, staleness: Duration) -> Self {
        Self {
            cache,
            changed: Lately::remembering(2 * staleness),
        }
    }

    /// The cache, for its refresher.
    pub(super) fn cache(&self) -> &AnyCache {
        &self.cache
    }

    /// The feed told of these works, and the entries that are here are about to be refreshed. To be called before.
    pub(super) fn touched(&self, ids: &[WorkId]) {
        self.changed.note(ids.iter().copied());
    }

    pub(super) async fn look_up(&self, id: WorkId) -> Seen {
        let seen = match self.cache.look_up(&[id]).await {
            Ok(seen) if seen.fresh => seen.found.into_iter().next(),
            _ => None,
        };
        match seen {
            Some(Found::Entry(entry)) => Seen::Entry(entry),
            Some(Found::Missing(lease)) => Seen::Nothing(Some(lease)),
            _ => Seen::Nothing(None),
        }
    }

    /// Fills in what the store said after the lease was taken.
    pub(super) async fn fill(&self, id: WorkId, lease: Option<Lease>, entry: Entry) {
        if let Some(lease) = lease {
            // It is in memory and does not fail.
            let _ = self.cache.fill(&[(id, lease, entry)]).await;
        }
    }

    /// Fills in what the shared cache said after the lease was taken, unless the work changed so lately that the
    /// shared cache may not have known: nothing would correct it here.
    pub(super) async fn fill_from_shared(&self, id: WorkId, lease: Option<Lease>, entry: Entry) {
        if !self.changed.contains(id) {
            self.fill(id, lease, entry).await;
        }
    }

    /// Now, by its own clock.
    pub(super) async fn now(&self) -> Option<Moment> {
        self.cache.now().await.ok()
    }

    /// Puts what was committed here after this moment.
    pub(super) async fn put(&self, entries: &[(WorkId, Entry)], since: Moment) {
        let _ = self.cache.put(entries, since).await;
    }
}
