//! The cache port: works by id, kept right by their versions, by leases and by a mark of freshness. Redis and this
//! process' own memory implement it, equal by the suite in `pp_conformance::cache`.
//!
//! Three writers meet here, and none may put an older value over a newer one, or a value that nothing corrects any more:
//!
//! - **Readers fill** what was missing. A look-up that finds nothing leaves a lease; only while that very lease is there
//!   may the value be filled in. Whoever changed the work meanwhile, and whoever emptied the cache, took the lease away.
//! - **Writers put** what they committed, so that they read their own writes. A newer version stays. Where nothing was,
//!   the refresher may have passed by already: there the entry is short-lived until the refresher confirms it, and is
//!   refused when it comes late; what is older goes even then.
//! - **The refresher** follows the change feed and brings what is present up to date; it brings nothing in. After each
//!   poll that caught up it marks the cache as fresh since that poll began; its place in the feed is kept beside the
//!   entries, so that a cache that lost its last seconds is brought up to date from there.
//!
//! A value may be served while the mark is younger than the reader's bound. All ages are by the cache's own clock.

mod keys;
mod lifetimes;
pub mod memory;
pub mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{AddUpTo, MessageId, Position, Work, WorkCode, WorkId};

/// Why the cache did not do what was asked. Nothing depends on it: the store has the truth.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be reached, or not in time.
    #[error("the cache is unavailable: {0}")]
    Unavailable(String),
    /// It answered with what this program does not understand.
    #[error("the cache refused: {0}")]
    Rejected(String),
}

/// What the cache's methods return.
pub type Result<T> = std::result::Result<T, CacheError>;

/// What is kept about a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The work as it was at its version.
    Work(Work),
    /// There is no such work, or was none yet: kept for moments only.
    Unknown,
    /// The work was deleted, for good: it never gives way to a version.
    Deleted,
}

/// The right to fill in one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(pub u64);

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry.
    Entry(Entry),
    /// Nothing; who asked may fill it in.
    Missing(Lease),
    /// Nothing, and nothing to fill in: somebody else is about to, or the cache is not fresh.
    Nothing,
}

/// What a look-up of several works found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// Whether the refresher caught up so recently that no entry is staler than the bound. Otherwise entries are only
    /// better than nothing, and no lease was left.
    pub fresh: bool,
    /// One for each id, in order.
    pub found: Vec<Found>,
}

/// A moment by the cache's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

/// What became of the refresher's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It stands.
    Marked,
    /// The cache is at another place of the feed, because it lost what it had last or another refresher was here. What
    /// lies behind that place is to be refreshed before it can be marked.
    At(Position),
    /// The cache is nowhere: it is new, or it was emptied. It is to be cleared before it can be marked.
    Nowhere,
}

/// How a cache is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// How long an entry is kept that nobody changes, give or take a tenth.
    pub ttl: Duration,
    /// How stale an entry may be that is served.
    pub staleness: Duration,
}

/// A demand that was accepted and has no row yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisional {
    /// Its identity.
    pub message_id: MessageId,
    /// The code that its work will have.
    pub work_code: WorkCode,
    /// Its bound.
    pub add_up_to: AddUpTo,
    /// When it was accepted, in Unix seconds.
    pub created_on: i64,
}

/// How many accepted demands are listed; beyond that, the oldest are not looked after any more.
pub const ACCEPTED: usize = 100_000;

/// What is kept by code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByCode {
    /// The work's id, which never changes.
    Id(WorkId),
    /// Accepted, and not written by a worker when this was put.
    Provisional(Provisional),
}

/// Works by id, and their ids by code. Entries expire on their own after a time that is a little different for each.
#[async_trait]
pub trait Cache: Send + Sync {
    /// Looks works up. Each id may stand once.
    async fn look_up(&self, ids: &[WorkId]) -> Result<LookedUp>;

    /// Fills in what was missing, each with its lease; what lost its lease meanwhile is left alone.
    async fn fill(&self, entries: &[(WorkId, Lease, Entry)]) -> Result<()>;

    /// Puts what was just committed, read or written by the store at `since` or later, over what is older.
    async fn put(&self, entries: &[(WorkId, Entry)], since: Moment) -> Result<()>;

    /// Which of these works the refresher must look after: those with an entry or a lease. In order.
    async fn present(&self, ids: &[WorkId]) -> Result<Vec<bool>>;

    /// Brings entries that are present up to date and takes leases away; brings nothing in.
    async fn refresh(&self, entries: &[(WorkId, Entry)]) -> Result<()>;

    /// Marks the cache as fresh since a moment, if it stands at the place `from` of the feed; it stands at `to`
    /// afterwards. A mark that comes so late that it is staler than the bound is as good as none.
    async fn mark(&self, from: &Position, to: &Position, since: Moment) -> Result<Marked>;

    /// Where it stands in the feed, if anywhere.
    async fn position(&self) -> Result<Option<Position>>;

    /// Forgets everything of this deployment, and stands at this place of the feed from then on.
    async fn clear(&self, at: &Position) -> Result<()>;

    /// Now.
    async fn now(&self) -> Result<Moment>;

    /// What is known of these codes. In order.
    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Option<ByCode>>>;

    /// Remembers what is known of codes. An id stays when a provisional entry comes. A provisional entry that is new is
    /// listed for [`Self::take_accepted`], where the newest [`ACCEPTED`] are.
    async fn put_codes(&self, entries: &[(WorkCode, ByCode)]) -> Result<()>;

    /// Takes codes that were listed longer ago than `age`, the oldest first, at most `limit`. They are listed anew, so
    /// that nobody else takes them before that time.
    async fn take_accepted(&self, age: Duration, limit: usize) -> Result<Vec<WorkCode>>;

    /// Lists these codes no longer.
    async fn drop_accepted(&self, codes: &[WorkCode]) -> Result<()>;

    /// Whether other processes see what is put here.
    fn shared(&self) -> bool;

    /// The name by which all who share this cache know it, however they reach it. No two caches have one name.
    async fn name(&self) -> Result<String>;
}

/// A cache, whichever it is.
pub type AnyCache = Arc<dyn Cache>;
