//! The cache port: works by id, kept correct by versions, leases and a freshness mark.
//!
//! Redis and this process's memory implement it. The suite in `pp_conformance::cache` checks both.
//!
//! Three kinds of writers share the cache. None of them may replace a newer value with an older one, or leave a value
//! that is never corrected.
//!
//! - **Readers fill** missing values. A look-up without a result leaves a lease, and the value may be filled in only
//!   while
//!   that lease exists. A change of the work or a cleared cache removes the lease.
//! - **Writers put** committed values, so that they read their own writes. A newer version stays. If there was no
//!   value, the
//!   refresher may already have passed: the entry is then short-lived until the refresher confirms it, and is refused
//!   if it
//!   comes late. An older value is removed even then.
//! - **The refresher** follows the change feed and updates existing entries, but adds none. After each poll that caught
//!   up
//!   it marks the cache as fresh since the start of that poll. Its position in the feed is stored beside the entries,
//!   so
//!   that a cache that lost its last seconds is updated from there.
//!
//! A value may be served while the mark is younger than the reader's limit. The cache's own clock measures all ages.

#[cfg(feature = "redis")]
mod keys;
mod lifetimes;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Json, KindName, MessageId, Position, Unique, Work, WorkCode, WorkId};

/// The error of a cache call. No result depends on the cache, because the store has the truth.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be reached, or did not answer in time.
    #[error("the cache is unavailable: {0}")]
    Unavailable(String),
    /// Its answer is not understood.
    #[error("the cache refused: {0}")]
    Rejected(String),
}

/// The result of a cache call.
pub type Result<T> = std::result::Result<T, CacheError>;

/// An entry of a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The work at its version.
    Work(Work),
    /// There is no such work, or was none yet. Kept for moments only.
    Unknown,
    /// The work was deleted for good. No version replaces this entry.
    Deleted,
}

#[cfg(feature = "redis")]
impl Entry {
    /// The bytes of the work's arguments and result.
    fn bytes(&self) -> usize {
        match self {
            Self::Work(work) => work.bytes(),
            Self::Unknown | Self::Deleted => 0,
        }
    }
}

/// The right to fill in one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(pub u64);

/// The result of a look-up: an entry, or perhaps the right to fill it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryOrLease {
    /// An entry.
    Entry(Entry),
    /// There is no entry; the caller may fill it in.
    Missing(Lease),
    /// There is no entry and no lease, because another reader fills it in or the cache is not fresh.
    Nothing,
}

/// The results of a look-up of several works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// True if the refresher caught up recently, so that no entry exceeds the staleness. Otherwise entries are a
    /// fallback only, and no leases were left.
    pub fresh: bool,
    /// One result per id, in order.
    pub found: Vec<EntryOrLease>,
}

/// A moment by the cache's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

/// The outcome of a freshness mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The mark was set.
    Marked,
    /// The cache is at another position of the feed, because it lost its last changes or another refresher was active.
    /// Changes after that position must be refreshed before it can be marked.
    At(Position),
    /// The cache has no position, because it is new or was emptied. It must be cleared before it can be marked.
    Nowhere,
}

/// The lifetimes of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// The lifetime of an unchanged entry, give or take a tenth.
    pub ttl: Duration,
    /// The maximum staleness of a served entry.
    pub staleness: Duration,
}

/// An accepted demand without a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisional {
    /// Its identity.
    pub message_id: MessageId,
    /// The code that its work will have.
    pub work_code: WorkCode,
    /// Its kind.
    pub kind: KindName,
    /// Its arguments.
    pub args: Json,
    /// Its `unique`, if it has one.
    pub unique: Option<Unique>,
    /// The time of acceptance in Unix seconds.
    pub created_on: i64,
}

/// The maximum number of listed accepted demands. Older ones are no longer checked.
pub const ACCEPTED: usize = 100_000;

/// An entry of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByCode {
    /// The work's id, which never changes.
    Id(WorkId),
    /// A demand was accepted, and no worker had written its work yet.
    Provisional(Provisional),
}

impl ByCode {
    /// The bytes of a demand's arguments.
    fn bytes(&self) -> usize {
        match self {
            Self::Id(_) => 0,
            Self::Provisional(demand) => demand.args.bytes(),
        }
    }
}

/// Works by id, and their ids by code. Entries expire after a lifetime that varies slightly.
#[async_trait]
pub trait Cache: Send + Sync {
    /// Looks up works. The ids must be distinct.
    async fn look_up(&self, ids: &[WorkId]) -> Result<LookedUp>;

    /// Fills in missing values, each with its lease. A value whose lease is gone is ignored.
    async fn fill(&self, entries: &[(WorkId, Lease, Entry)]) -> Result<()>;

    /// Puts values that the store read or committed at `since` or later. They replace older ones.
    async fn put(&self, entries: &[(WorkId, Entry)], since: Moment) -> Result<()>;

    /// Tells in order which of these works have an entry or a lease, so that the refresher must update them.
    async fn present(&self, ids: &[WorkId]) -> Result<Vec<bool>>;

    /// Updates existing entries and removes leases. It adds no entries.
    async fn refresh(&self, entries: &[(WorkId, Entry)]) -> Result<()>;

    /// Marks the cache as fresh since a moment and moves its position from `from` to `to`. The position must be `from`.
    /// A late mark that exceeds the staleness has no effect on freshness.
    async fn mark(&self, from: &Position, to: &Position, since: Moment) -> Result<Marked>;

    /// The position in the feed, if there is one.
    async fn position(&self) -> Result<Option<Position>>;

    /// Removes all entries of this deployment and sets the position.
    async fn clear(&self, at: &Position) -> Result<()>;

    /// The current time of the cache.
    async fn now(&self) -> Result<Moment>;

    /// The entries of these codes, in order.
    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Option<ByCode>>>;

    /// Stores entries of codes. A provisional entry never replaces an id. A new provisional entry is listed for
    /// [`Self::take_accepted`], which keeps the newest [`ACCEPTED`].
    async fn put_codes(&self, entries: &[(WorkCode, ByCode)]) -> Result<()>;

    /// Takes codes listed longer ago than `age`, oldest first, at most `limit`. They are listed again as new, so that
    /// no other process takes them before that time.
    async fn take_accepted(&self, age: Duration, limit: usize) -> Result<Vec<WorkCode>>;

    /// Removes these codes from the list.
    async fn drop_accepted(&self, codes: &[WorkCode]) -> Result<()>;

    /// True if other processes see the entries.
    fn shared(&self) -> bool;

    /// The name and version of the server, as in `Redis 7.0.15`; `None` if there is none.
    async fn server(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// The name of the cache, the same for all its users and through every address. No two caches share a name.
    async fn name(&self) -> Result<String>;
}

/// A shared cache of any kind.
pub type AnyCache = Arc<dyn Cache>;
