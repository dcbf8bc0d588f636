//! Requests that may be repeated: a key, its holder, and the answer that every repetition gets.
//!
//! The seed makes a request idempotent. It stays the same until the key expires, so a process that takes over the
//! request of one that died does nothing twice.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Result;

/// The identity of a request.
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
    /// Its identity.
    pub key: RequestKey,
    /// A hash of its query and body.
    pub fingerprint: Vec<u8>,
    /// The seed of its identities, if it is the first.
    pub seed: String,
}

/// The answer to a request that wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may begin: it is neither answered nor in flight.
    Mine {
        /// The seed of its identities; that of an earlier try which came to nothing, if there was one.
        seed: String,
    },
    /// It was answered before.
    Answered(Answer),
    /// Another process is executing it.
    InFlight,
    /// The key belongs to a request that asked for something else.
    OtherRequest,
}

/// An answer, repeated byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers, as name and value.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The request.
    pub key: RequestKey,
    /// The seed it was begun with.
    pub seed: String,
    /// The answer.
    pub answer: Answer,
}

/// Idempotency keys. Each may stand once in a call.
#[async_trait]
pub trait IdempotencyKeys: Send + Sync {
    /// Begins requests; returns one answer for each, in order. A begun request is held for `hold`, after which another
    /// process may take it over, and remembered for `keep` from its first beginning. Once the kept answers have
    /// [`PART_BYTES`](crate::domain::PART_BYTES), the others are told at a later call, and until then are in flight.
    async fn begin(&self, requests: &[Begin], hold: Duration, keep: Duration) -> Result<Vec<Begun>>;

    /// Keeps answers. Returns for each, in order, the answer that counts: the first that was kept; `None` if the key is
    /// gone or belongs to another request by now.
    async fn keep_answers(&self, answered: &[Answered]) -> Result<Vec<Option<Answer>>>;

    /// Releases a request that came to nothing, so that it may begin again at once.
    async fn release_key(&self, key: &RequestKey, seed: &str) -> Result<()>;

    /// Removes expired keys, at most `limit`; returns their number.
    async fn forget_expired(&self, limit: u16) -> Result<u64>;
}
