//! The feed of all events: what a reader has not seen yet, by the place where it stands. Every event comes once, however
//! many write at once, and those of one work come in their order. Nothing holds the feed: what an open transaction writes
//! comes when that commits, and everything else before.

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Event, Position, Status, WorkId};

/// One event, with what a reader needs to know of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The place behind it.
    pub position: Position,
    /// The work.
    pub work_id: WorkId,
    /// The status of the work after the change that it tells of; unknown for events older than the feed.
    pub status: Option<Status>,
    /// What happened.
    pub event: Event,
}

/// What stands behind a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order, at most as many as asked for.
    pub items: Vec<T>,
    /// The place behind them, to go on from.
    pub position: Position,
    /// Whether this is all that was committed when it was read.
    pub complete: bool,
}

/// The events of all works as one feed.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// The place behind everything that was committed by now.
    async fn head(&self) -> Result<Position>;

    /// The events behind a position, at most `limit`; `None` where the feed cannot be continued from there: it is of
    /// another epoch, ahead of the head, or so old that events behind it may be gone.
    async fn changes(&self, after: &Position, limit: u16) -> Result<Option<Page<Change>>>;

    /// The works that at most `limit` events behind a position tell of, each once and in no particular order; `None` as
    /// for [`Self::changes`].
    async fn touched(&self, after: &Position, limit: u16) -> Result<Option<Page<WorkId>>>;
}
