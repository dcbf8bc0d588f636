//! Works as the API serves them: created, read and searched.

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{
    CreatedWork, Json, KindName, MessageId, PAGE_BYTES, Status, Unique, WebUrl, Work, WorkCode, WorkCodePrefix, WorkId,
    is_full,
};

/// A work to be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWork {
    /// Its kind.
    pub kind: KindName,
    /// Its identity within the kind, made before the first try.
    pub message_id: MessageId,
    /// Its code; the origin in it decides whether `work/created` is recorded.
    pub work_code: WorkCode,
    /// Its arguments.
    pub args: Json,
    /// Unix second from which it may run; without one, or with one in the past, it runs at once.
    pub run_at: Option<i64>,
    /// While another work of the kind with this text is unfinished, it is that work.
    pub unique: Option<Unique>,
    /// The URL that is told when it is finished, in place of that of its kind.
    pub notify: Option<WebUrl>,
}

impl NewWork {
    /// The bytes of its arguments.
    pub fn bytes(&self) -> usize {
        self.args.bytes()
    }

    /// Its `message_id` and kind, which together identify it.
    pub(super) fn key(&self) -> (&str, &str) {
        (self.message_id.as_str(), self.kind.as_str())
    }

    /// Its kind and `unique`.
    pub(super) fn unique_key(&self) -> Option<(&str, &str)> {
        self.unique.as_ref().map(|unique| (self.kind.as_str(), unique.as_str()))
    }
}

/// A search for works; the newest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Only codes with this prefix.
    pub work_code: Option<WorkCodePrefix>,
    /// Only works of this kind.
    pub kind: Option<KindName>,
    /// Only works in (`true`) or not in (`false`) this status.
    pub status: Option<(Status, bool)>,
    /// Only works created at this Unix second or later.
    pub since: Option<i64>,
    /// Only ids below this one, where the page before ended.
    pub before: Option<WorkId>,
    /// The most works of a page.
    pub limit: u16,
}

impl Search {
    /// True if there may be more works behind those that this search found.
    pub fn may_have_more(&self, found: &[Work]) -> bool {
        found.len() >= usize::from(self.limit) || is_full(found, PAGE_BYTES, Work::bytes)
    }
}

/// Works as the API serves them. Reads never return deleted works.
#[async_trait]
pub trait WorkRows: Send + Sync {
    /// Inserts works, due at once or at their `run_at`. Returns one answer for each, in order: the work as it now
    /// stands, inserted now or by an earlier call with the same kind and `message_id`; or, as a duplicate, the unfinished
    /// work of the kind with the same `unique`; or `None` where another work has the code and a new code is needed.
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<CreatedWork>>>;

    /// Inserts works like [`Self::create`]: all of them or, if another work has one of the codes, none.
    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<CreatedWork>>>;

    /// The works with these ids, in no particular order; unknown ids are left out. It stops once the works have
    /// [`PART_BYTES`](crate::domain::PART_BYTES): ask again for those that are missing then, see [`is_full`](crate::domain::is_full).
    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>>;

    /// The newest work of this kind with this `unique` that is unfinished, or changed at this Unix second or later.
    async fn by_unique(&self, kind: &KindName, unique: &Unique, since: i64) -> Result<Option<Work>>;

    /// The works with these codes, otherwise like [`Self::by_ids`].
    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>>;

    /// The works that match, newest first. It stops once they have [`PAGE_BYTES`].
    async fn search(&self, search: &Search) -> Result<Vec<Work>>;

    /// The number of works that match, at most `most`. The limit of the search does not matter.
    async fn count(&self, search: &Search, most: u32) -> Result<u32>;
}
