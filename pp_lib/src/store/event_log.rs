//! Events, read by work.

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Event, PAGE_BYTES, WorkId, is_full};

/// Events of single works.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The events of a work with ids above `after`, oldest first, at most `limit`; `None` if there is no such work. It
    /// stops once they have [`PAGE_BYTES`].
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>>;

    /// The first page of a work's events, at most [`MOST_EVENTS`]. An ordinary work has fewer.
    async fn events(&self, id: WorkId) -> Result<Option<Vec<Event>>> {
        self.events_after(id, 0, MOST_EVENTS).await
    }
}

/// The most events that one read returns.
pub const MOST_EVENTS: u16 = 1000;

/// True if there may be more events behind these, which were read with [`MOST_EVENTS`].
pub fn may_have_more_events(events: &[Event]) -> bool {
    events.len() >= usize::from(MOST_EVENTS) || is_full(events, PAGE_BYTES, Event::bytes)
}
