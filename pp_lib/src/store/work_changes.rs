//! Works as their owners change them: updated, cancelled, retried, deleted.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{AddUpTo, Status, Work, WorkId};

/// What became of a change to a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<T> {
    /// It took effect.
    Applied(T),
    /// The work is at another version than the one that was to be changed. Nothing changed.
    OtherVersion,
    /// The work's status, which is this one, rules the change out. Nothing changed.
    WrongStatus(Status),
    /// There is no such work.
    Missing,
}

impl<T> Changed<T> {
    /// The same with something else in place of what it came to.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Changed<U> {
        match self {
            Self::Applied(what) => Changed::Applied(change(what)),
            Self::OtherVersion => Changed::OtherVersion,
            Self::WrongStatus(status) => Changed::WrongStatus(status),
            Self::Missing => Changed::Missing,
        }
    }
}

/// Works, as their owners change them. What is under way for what a work was before has no effect any more.
///
/// A change whose reply is lost is repeated within its call and takes effect once: it takes for its own doing that the
/// work is one generation further, with the bound it gives it, or cancelled one version further, or gone. Whoever did
/// the very same thing in between cannot be told from it, and need not be. A new call after [`StoreError::Unavailable`] is another change: it counts
/// another generation, or finds another version or nothing.
#[async_trait]
pub trait WorkChanges: Send + Sync {
    /// Gives a work another bound, to be computed anew: pending, as the next generation, due after `pause` so that a
    /// series of updates computes once; one that waits for its `run_at` goes on waiting. Only at this version, if
    /// given. Its dead letter is gone with it.
    async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>>;

    /// Ends a pending or running work. It stays readable as `cancelled`; what is under way for it has no effect any more.
    /// Only at this version, if given.
    async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>>;

    /// Starts a failed or cancelled work over: pending, as the next generation, due at once or at its `run_at`. Only at
    /// this version, if given. Its dead letter is gone with it.
    async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>>;

    /// Cancels a work that is unfinished, and removes it from what is read; its row stays, so that a late redelivery
    /// finds that it is gone. Only at this version, if given. Its dead letter is gone with it.
    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>>;
}
