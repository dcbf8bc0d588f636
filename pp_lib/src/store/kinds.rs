//! The kinds of works: what programs declare of them, and what an operator sets over it.
//!
//! To the store both are JSON. Their form is that of `crate::kinds`.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use super::work_changes::Changed;
use crate::domain::{Json, KindName, Principal, SigningSecret};

/// A kind as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRow {
    /// Its name.
    pub name: KindName,
    /// The newest declaration and its Unix second; `None` where nobody has declared the kind.
    pub declared: Option<(Json, i64)>,
    /// The different declaration before it, and the Unix second of its end.
    pub replaced: Option<(Json, i64)>,
    /// Settings of the policy that an operator has set: an object.
    pub overrides: Json,
    /// Grows with each change of the above.
    pub version: i64,
    /// The Unix second in which a worker for the kind was heard of last.
    pub worker_seen_on: Option<i64>,
    /// True if that was within the last 15 seconds.
    pub has_worker: bool,
    /// True if it has a secret that signs what is sent for it.
    pub has_secret: bool,
}

/// The seconds for which a worker that is heard of no more counts as there.
pub(super) const WORKER_SEEN_WITHIN: i64 = 15;

/// The most kinds of a store.
pub const MOST_KINDS: i64 = 1_000;

/// The kinds.
#[async_trait]
pub trait KindRows: Send + Sync {
    /// Declares a kind. The same declaration again changes nothing, another one replaces the last. Returns the kind as it
    /// now stands, or `None` if there are [`MOST_KINDS`] already.
    async fn declare(&self, by: &Principal, kind: &KindName, declaration: &Json) -> Result<Option<KindRow>>;

    /// Sets what an operator wants of the policy, in place of what was set before. A given version must match.
    async fn set_overrides(
        &self,
        by: &Principal,
        kind: &KindName,
        overrides: &Json,
        version: Option<i64>,
    ) -> Result<Changed<KindRow>>;

    /// All kinds in the order of their names, the built-in one and undeclared ones among them that have pending works.
    async fn kinds(&self) -> Result<Vec<KindRow>>;

    /// A number that is another one after each change of a declaration or of settings.
    async fn kinds_revision(&self) -> Result<i64>;

    /// Gives a kind a new secret. The one before signs too for as long as `keep`. The same secret again changes nothing.
    /// Returns the Unix second until which the one before is kept, if it is; [`Changed::Missing`] if there is no such kind.
    async fn set_secret(
        &self,
        by: &Principal,
        kind: &KindName,
        secret: &SigningSecret,
        keep: Duration,
    ) -> Result<Changed<Option<i64>>>;

    /// The secrets of a kind that sign now, the newest first: at most two.
    async fn secrets(&self, kind: &KindName) -> Result<Vec<SigningSecret>>;

    /// Notes that a worker has handlers for these kinds. Returns the number of those that are declared.
    async fn worker_seen(&self, kinds: &[KindName]) -> Result<u64>;
}
