//! Events, read by work.

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Event, WorkId};

/// Events of single works.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The events of a work with ids above `after`, oldest first, at most `limit`; `None` if there is no such work.
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>>;

    /// The first [`MOST_EVENTS`] events of a work. An ordinary work has fewer.
    async fn events(&self, id: WorkId) -> Result<Option<Vec<Event>>> {
        self.events_after(id, 0, MOST_EVENTS).await
    }
}

/// The most events that one read returns.
pub const MOST_EVENTS: u16 = 1000;
