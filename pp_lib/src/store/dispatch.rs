//! The outbox: due rows on their way to the broker.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Json, KindName, MessageId, PART_BYTES, Run, WorkCode, WorkId};

/// A moment on the clock of the store, to be given back to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAt(pub i64);

/// A due row, held for one dispatcher until `due_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The row.
    pub id: WorkId,
    /// Its kind.
    pub kind: KindName,
    /// Its identity within the kind.
    pub message_id: MessageId,
    /// Its code.
    pub work_code: WorkCode,
    /// Its arguments.
    pub args: Json,
    /// The run it waits for.
    pub run: Run,
    /// Earlier attempts that failed.
    pub failures: i32,
    /// Earlier attempts that lost their worker.
    pub lost_leases: i32,
    /// End of the claim; the row is due again then.
    pub due_at: DueAt,
}

/// Bytes of arguments that one call claims of a kind; the last row may exceed it.
pub const CLAIMED_BYTES: i64 = PART_BYTES as i64;

/// The outbox: pending rows that are due, on their way to the broker.
#[async_trait]
pub trait DispatchRows: Send + Sync {
    /// Claims due pending rows of all kinds that are sent, which undeclared and paused ones are not, but `skipped` ones. Of each kind it takes those that are longest due, at most
    /// `limit` with about [`CLAIMED_BYTES`] of arguments, and only those that fell due `within` this time, if given. Each
    /// is due again after `hold`: no other dispatcher takes it, and none is lost with this one.
    async fn claim(
        &self,
        skipped: &[KindName],
        within: Option<Duration>,
        hold: Duration,
        limit: u16,
    ) -> Result<Vec<Claim>>;

    /// The kinds that have pending rows, except those whose works are claimed by workers.
    async fn pending_kinds(&self) -> Result<Vec<KindName>>;

    /// Records that claims were sent, so that nothing is due. Skips rows that moved on since they were claimed.
    async fn mark_sent(&self, claims: &[Claim]) -> Result<()>;

    /// Makes claims due again at once that were not sent. Skips rows that moved on.
    async fn give_back(&self, claims: &[Claim]) -> Result<()>;

    /// Makes pending rows of a kind due again that were claimed or sent longer ago than this, or in the future because
    /// the clock was set back. Returns their number.
    async fn release_sent(&self, kind: &KindName, longer_than: Duration) -> Result<u64>;

    /// Time until the next unfinished row is due, except pending rows of kinds that are `skipped` or not sent: for its time, a retry, the end
    /// of a claim or of a lease. Zero if one fell due within the last second, which an earlier look may have missed;
    /// `None` if none will.
    async fn next_due(&self, skipped: &[KindName]) -> Result<Option<Duration>>;

    /// How long the longest due row of each kind waits to be sent or claimed, except of paused and undeclared kinds. It
    /// reads one row of each kind.
    async fn oldest_due(&self) -> Result<Vec<(KindName, Duration)>>;

    /// Takes every pending row that was claimed or sent for one that lost its worker before its attempt began: due at
    /// once, as the same attempt. Rows that lost more than `max_lost` fail for good. Returns their number. For a broker that ended together with
    /// the only worker.
    async fn lose_sent(&self, max_lost: i32) -> Result<u64>;

    /// Takes every running row of a consumer for one that lost its worker, whatever its lease says. Otherwise like
    /// [`Self::lose_sent`]. For a caller that knows that all consumers ended.
    async fn lose_running(&self, max_lost: i32) -> Result<u64>;

    /// The store's clock, as time since the Unix epoch.
    async fn clock(&self) -> Result<Duration>;

    /// Shortens waits that became too long because the clock of the store was set back. A row or lease that began to
    /// wait in the future waits as long as it did then, from now on. Rows that were due stay due, and a `run_at` stays
    /// as it is. Looks at all waiting rows, or at the first `most`; returns the number it changed.
    async fn shorten_waits(&self, most: Option<u32>) -> Result<u64>;
}
