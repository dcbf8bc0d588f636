//! What is finished for long goes, so that the tables do not grow for ever.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::WorkId;

/// What one look at the works came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// So many works went.
    pub works: u64,
    /// With so many events.
    pub events: u64,
    /// Behind which work to go on, unless there is nothing old behind it.
    pub next: Option<WorkId>,
}

/// Works that nobody needs any more.
///
/// They are found by a walk in the order of their ids, which is about that of their creation, and not by an index: that
/// would have to hold every finished work, and each work that becomes done would pay for it. The walk meets again, each
/// time, what is old and has to stay; of that there is little.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Looks at the next works behind an id, at most `limit`, and removes with all their events those that became done
    /// or failed, or were cancelled or deleted, longer ago than `retain`. Works that stand among the dead letters stay; so do, until the
    /// next walk, those that somebody else changes just now, and those with events that no reader of the feed may have
    /// seen yet.
    ///
    /// What goes is told nobody. The feed cannot be continued from before it; the counters know of it at once.
    async fn purge(&self, after: WorkId, retain: Duration, limit: u16) -> Result<Purged>;
}
