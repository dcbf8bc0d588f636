//! The outbox: due rows on their way to the broker.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{AddUpTo, MessageId, Run, WorkCode, WorkId};

/// A moment by the store's clock, for handing back to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAt(pub i64);

/// A due row, held for one dispatcher until `due_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The row.
    pub id: WorkId,
    /// Its idempotency key.
    pub message_id: MessageId,
    /// Its code.
    pub work_code: WorkCode,
    /// Its bound.
    pub add_up_to: AddUpTo,
    /// The run it waits for.
    pub run: Run,
    /// How many of the attempts before failed by themselves.
    pub failures: i32,
    /// How many of the attempts before ended with their worker.
    pub lost_leases: i32,
    /// When the claim runs out and the row is due again.
    pub due_at: DueAt,
}

/// The outbox: pending rows that are due, on their way to the broker.
#[async_trait]
pub trait DispatchRows: Send + Sync {
    /// Takes the longest due pending rows, at most `limit`, and makes each due again after `hold`, so that no other
    /// dispatcher takes it and none is lost with this one. Only rows that fell due `within` this long, if given.
    async fn claim(&self, within: Option<Duration>, hold: Duration, limit: u16) -> Result<Vec<Claim>>;

    /// Records that claims were sent: nothing is due any more, except where the row moved on since it was claimed.
    async fn mark_sent(&self, claims: &[Claim]) -> Result<()>;

    /// Gives claims back whose rows were not sent: they are due again at once, except where the row moved on.
    async fn give_back(&self, claims: &[Claim]) -> Result<()>;

    /// Makes pending rows due again that were claimed or sent longer ago than this, or later than now by a clock that was
    /// set back since; how many.
    async fn release_sent(&self, longer_than: Duration) -> Result<u64>;

    /// How long until the next unfinished row falls due: a wait for its time or a retry, a claim, a lease. Zero when one
    /// did within the last second, which whoever looked before that has missed; `None` when none will.
    async fn next_due(&self) -> Result<Option<Duration>>;

    /// Counts every pending row that was claimed or sent as one that lost its worker: due at once, as the next attempt;
    /// those that lost more than `max_lost` fail for good. How many. For a broker that ended with the only worker.
    async fn lose_sent(&self, max_lost: i32) -> Result<u64>;

    /// Counts every running row as one that lost its worker, whatever its lease says: due at once, as the next attempt;
    /// those that lost more than `max_lost` fail for good. How many. For whoever knows that all workers ended.
    async fn lose_running(&self, max_lost: i32) -> Result<u64>;

    /// The store's clock, as the time since the Unix epoch.
    async fn clock(&self) -> Result<Duration>;

    /// Ends waits that became too long because the store's clock was set back: what began to wait later than now waits as
    /// long as it did then, from now on, be it a claim, a retry, a running row or one of the [`Leases`]; what was due is
    /// due. A `run_at` stays as it is. Looks at all rows that wait, or at the first `most` of them; how many it changed.
    async fn shorten_waits(&self, most: Option<u32>) -> Result<u64>;
}
