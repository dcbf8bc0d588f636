//! Requests that may be repeated: a key, who works on it, and the answer that every repetition gets.
//!
//! What a request does is made idempotent by its seed, which stays the same until the key expires; so whoever takes a
//! request over from a process that died does nothing twice.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Result;

/// What a request is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// Method, path and principal.
    pub scope: String,
    /// The client's key.
    pub key: String,
}

/// A request that wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// What it is known by.
    pub key: RequestKey,
    /// A hash of what it asks for.
    pub fingerprint: Vec<u8>,
    /// What its identities are made of if it is the first.
    pub seed: String,
}

/// Whether a request may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may: nobody has answered it, and nobody works on it.
    Mine {
        /// What its identities are made of; that of an earlier try which came to nothing, if there was one.
        seed: String,
    },
    /// It was answered before.
    Answered(Answer),
    /// Another process works on it.
    InFlight,
    /// The key belongs to a request that asked for something else.
    OtherRequest,
}

/// An answer, to be given again byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers, as name and value.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The request.
    pub key: RequestKey,
    /// As it was begun.
    pub seed: String,
    /// The answer.
    pub answer: Answer,
}

/// The keys of requests. Each may stand once in a call.
#[async_trait]
pub trait IdempotencyKeys: Send + Sync {
    /// Begins requests; one answer for each, in order. What is begun is held for `hold`, after which another may take
    /// it over, and remembered for `keep` from its first beginning.
    async fn begin(&self, requests: &[Begin], hold: Duration, keep: Duration) -> Result<Vec<Begun>>;

    /// Keeps answers. For each, in order, the one that counts: the first that was kept; `None` where the key is gone
    /// or belongs to another request by now.
    async fn keep_answers(&self, answered: &[Answered]) -> Result<Vec<Option<Answer>>>;

    /// Lets go of a request that came to nothing, so that it may begin again at once.
    async fn let_go(&self, key: &RequestKey, seed: &str) -> Result<()>;

    /// Removes expired keys, at most `limit`; how many.
    async fn forget_expired(&self, limit: u16) -> Result<u64>;
}
