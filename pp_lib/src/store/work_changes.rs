//! Works as their owners change them: updated, cancelled, retried, deleted.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Json, Principal, Status, Work, WorkId};

/// The result of a change to a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<T> {
    /// It took effect.
    Applied(T),
    /// The work is at another version. Nothing changed.
    OtherVersion,
    /// The work has this status, which rules the change out. Nothing changed.
    WrongStatus(Status),
    /// It would be unfinished again, while another work of its kind with its `unique` is. Nothing changed.
    UniqueHeld,
    /// There is no such work.
    Missing,
}

impl<T> Changed<T> {
    /// Maps the value of an applied change.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Changed<U> {
        match self {
            Self::Applied(what) => Changed::Applied(change(what)),
            Self::OtherVersion => Changed::OtherVersion,
            Self::WrongStatus(status) => Changed::WrongStatus(status),
            Self::UniqueHeld => Changed::UniqueHeld,
            Self::Missing => Changed::Missing,
        }
    }
}

/// Works as their owners change them. Each change that takes effect is a row of the audit, in the same commit. Attempts at an earlier state of the work take no effect any more.
///
/// A change whose reply is lost is repeated within its call and takes effect once. The repetition recognizes its own
/// effect: the work is one generation further with its arguments, or cancelled one version further, or gone. The same
/// change by somebody else cannot be told apart, and need not be. A new call after [`StoreError::Unavailable`] is
/// another change: it adds another generation, or finds another version or nothing.
#[async_trait]
pub trait WorkChanges: Send + Sync {
    /// Gives a work other arguments and makes it pending, as its next generation. It is due after `pause`, so that a
    /// series of updates computes once; a work that waits for its `run_at` keeps waiting. Removes its dead letter. With
    /// `version`, changes only that version.
    async fn update(
        &self,
        by: &Principal,
        id: WorkId,
        args: &Json,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>>;

    /// Ends a pending or running work. It stays readable as `cancelled`. With `version`, changes only that version.
    async fn cancel(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>>;

    /// Makes a failed or cancelled work pending, as its next generation, due at once or at its `run_at`. Removes its
    /// dead letter. With `version`, changes only that version.
    async fn retry(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>>;

    /// Hides a work from all reads, and cancels it if it is unfinished. Its row stays, so that a late redelivery finds
    /// it gone. Removes its dead letter. With `version`, changes only that version.
    async fn delete(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<()>>;
}
