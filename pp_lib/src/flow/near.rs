//! The near cache: works in this process' own memory, in front of a shared cache, kept right by the change feed.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{AnyCache, Entry, Found, Lease};
use crate::domain::WorkId;

/// The near cache of a process.
pub struct Near {
    cache: AnyCache,
    changed: Mutex<Changed>,
    staleness: Duration,
}

/// Which works changed lately, in two spans of time: the one that began last and the one before.
#[derive(Default)]
struct Changed {
    now: HashSet<WorkId>,
    before: HashSet<WorkId>,
    began: Option<Instant>,
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
            changed: Mutex::default(),
            staleness,
        }
    }

    /// The cache, for its refresher.
    pub(super) fn cache(&self) -> &AnyCache {
        &self.cache
    }

    /// The feed told of these works, and the entries that are here are about to be refreshed. To be called before.
    pub(super) fn touched(&self, ids: &[WorkId]) {
        self.lock().extend(ids);
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
        if !self.lock().contains(id) {
            self.fill(id, lease, entry).await;
        }
    }

    /// Puts what was committed here.
    pub(super) async fn put(&self, entries: &[(WorkId, Entry)]) {
        if let Ok(since) = self.cache.now().await {
            let _ = self.cache.put(entries, since).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.turn(2 * self.staleness);
        changed
    }
}

impl Changed {
    /// Forgets what changed more than two spans ago.
    fn turn(&mut self, span: Duration) {
        let Some(age) = self.began.map(|began| began.elapsed()) else {
            self.began = Some(Instant::now());
            return;
        };
        if age >= span {
            self.before = std::mem::take(&mut self.now);
            self.began = Some(Instant::now());
        }
        if age >= 2 * span {
            self.before.clear();
        }
    }

    fn extend(&mut self, ids: &[WorkId]) {
        self.now.extend(ids);
    }

    fn contains(&self, id: WorkId) -> bool {
        self.now.contains(&id) || self.before.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_remembered_for_one_span_at_least_and_two_at_most() {
        let span = Duration::from_secs(10);
        let mut changed = Changed::default();
        changed.turn(span);
        changed.extend(&[WorkId(1)]);
        let later = |changed: &mut Changed, seconds| {
            changed.began = changed
                .began
                .and_then(|began| began.checked_sub(Duration::from_secs(seconds)));
            changed.turn(span);
        };
        later(&mut changed, 9);
        assert!(changed.contains(WorkId(1)));
        later(&mut changed, 2);
        changed.extend(&[WorkId(2)]);
        assert!(changed.contains(WorkId(1)) && changed.contains(WorkId(2)));
        later(&mut changed, 11);
        assert!(!changed.contains(WorkId(1)) && changed.contains(WorkId(2)));
        later(&mut changed, 25);
        assert!(!changed.contains(WorkId(2)));
    }
}
