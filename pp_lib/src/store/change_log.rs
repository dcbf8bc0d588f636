//! The feed of all events. Every event comes once, also with many writers, and the events of one work come in order. An
//! open transaction holds up only its own events.

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Event, KindName, Position, Status, WorkId, is_full};

/// One event, with what a reader needs to know of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The position behind the event.
    pub position: Position,
    /// The work.
    pub work_id: WorkId,
    /// The kind of the work.
    pub kind: KindName,
    /// The status of the work after the change; unknown for events older than the feed.
    pub status: Option<Status>,
    /// The event.
    pub event: Event,
}

/// A page of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order, at most as many as were asked for.
    pub items: Vec<T>,
    /// The position behind them, to continue from.
    pub position: Position,
    /// True if the page reached the end of what was committed when it was read.
    pub complete: bool,
}

/// Bytes of the values on one page of changes; the last one may exceed it. Readers that lag behind hold many pages.
pub const CHANGES_BYTES: usize = 256 << 10;

/// True if a page of changes with these values, as read with this limit, ends before the feed does.
pub(super) fn is_cut<'a>(limit: u16, values: impl Iterator<Item = &'a str>) -> bool {
    let values: Vec<&str> = values.collect();
    values.len() >= usize::from(limit) || is_full(&values, CHANGES_BYTES, |value| value.len())
}

/// The events of all works as one feed.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// The position behind everything that was committed by now.
    async fn head(&self) -> Result<Position>;

    /// The events behind a position, at most `limit`, and until they have [`CHANGES_BYTES`]. `None` if the feed cannot be continued from there: the position
    /// is of another epoch, ahead of the head, or so old that events behind it may be gone.
    async fn changes(&self, after: &Position, limit: u16) -> Result<Option<Page<Change>>>;

    /// The works of at most `limit` events behind a position, each once, in no particular order; `None` as for
    /// [`Self::changes`].
    async fn touched(&self, after: &Position, limit: u16) -> Result<Option<Page<WorkId>>>;
}
