//! Works as the API serves them: created, read and searched.

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{AddUpTo, MessageId, Status, Work, WorkCode, WorkCodePrefix, WorkId};

/// A work to be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWork {
    /// The idempotency key, made before the first try.
    pub message_id: MessageId,
    /// Its code; the origin in it decides whether `work/created` is recorded.
    pub work_code: WorkCode,
    /// Its bound.
    pub add_up_to: AddUpTo,
    /// When it is to run, in Unix seconds; at once when there is none or it is over.
    pub run_at: Option<i64>,
}

/// Which works a search is for; the newest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Codes that begin like this.
    pub work_code: Option<WorkCodePrefix>,
    /// Works in (`true`) or not in (`false`) this status.
    pub status: Option<(Status, bool)>,
    /// Created at this Unix second or later.
    pub since: Option<i64>,
    /// With an id below this one: where the page before ended.
    pub before: Option<WorkId>,
    /// At most so many.
    pub limit: u16,
}

/// Works, as the API serves them. Deleted works are never among what is read.
#[async_trait]
pub trait WorkRows: Send + Sync {
    /// Inserts works, due at once or at their `run_at`. One answer for each, in order: the work as it now stands,
    /// whether inserted now or by an earlier call with the same `message_id`; `None` where another work has the code,
    /// so that a new code is needed.
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<Work>>>;

    /// Inserts works as [`Self::create`] does, but all of them or, where another work has one of the codes, none.
    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<Work>>>;

    /// The works with these ids, in no particular order; unknown ids are left out.
    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>>;

    /// The works with these codes, in no particular order; unknown codes are left out.
    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>>;

    /// The works that match, newest first.
    async fn search(&self, search: &Search) -> Result<Vec<Work>>;
}
