//! The history of works, read by work.

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Event, WorkId};

/// The history of works.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The events of a work with ids above `after`, oldest first and at most `limit`, or `None` when there is no such
    /// work.
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>>;

    /// The first [`MOST_EVENTS`] events of a work, which are all of an ordinary one.
    async fn events(&self, id: WorkId) -> Result<Option<Vec<Event>>> {
        self.events_after(id, 0, MOST_EVENTS).await
    }
}

/// How many events of a work are read at once.
pub const MOST_EVENTS: u16 = 1000;
