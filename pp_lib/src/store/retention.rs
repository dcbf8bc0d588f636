//! Retention: old finished works are purged.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{KindName, WorkId};

/// The time for which finished works are kept. [`Duration::MAX`] is for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionTimes {
    /// That of every kind that is not named.
    pub default: Duration,
    /// That of these kinds.
    pub by_kind: Vec<(KindName, Duration)>,
}

impl RetentionTimes {
    /// The same time for all kinds.
    pub fn all(default: Duration) -> Self {
        Self {
            default,
            by_kind: Vec::new(),
        }
    }

    /// The shortest of the times.
    pub fn shortest(&self) -> Duration {
        let named = self.by_kind.iter().map(|(_, kept)| *kept);
        named.fold(self.default, Duration::min)
    }
}

/// The result of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Purged works.
    pub works: u64,
    /// Purged events.
    pub events: u64,
    /// The work behind which to continue; `None` if there is nothing old behind it.
    pub next: Option<WorkId>,
}

/// Purging of old works.
///
/// Works are found by a walk in the order of their ids, which is about that of their creation. An index would have to
/// hold every finished work, and each work that becomes done would pay for it. Each walk meets the old works that have
/// to stay again; they are few.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Looks at the next works behind an id, at most `limit`. Removes those that were finished or deleted longer ago
    /// than their time, with all their events. Works with dead letters stay. Works that change just now, or have events
    /// that a reader of the feed may not have seen yet, stay until the next walk.
    ///
    /// Purging emits no event. The feed cannot be continued from before it; the counters know at once.
    async fn purge(&self, after: WorkId, times: &RetentionTimes, limit: u16) -> Result<Purged>;
}
