//! Actors: what is shared stands behind a bounded mailbox, and what waits there is done as one batch.
//!
//! A full mailbox answers at once, a panic costs only the batch it happened in, and no actor waits for one request
//! while others could go on. They run where they are started: on the main runtime, not on a web server's workers. Only
//! the works' service, which shares nothing, runs where it is asked.

mod breaker;
mod cache;
mod mailbox;
mod publisher;
mod store;

pub use cache::{CacheActor, CacheHandle, Seen};
pub use publisher::{DemandActor, DemandHandle, Offered};
pub use store::{StoreActor, StoreHandle, StoreOptions};

use crate::store::StoreError;

/// Why an actor has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActorError {
    /// Its mailbox is full; nothing was done, and the same call may succeed in a moment.
    #[error("too much is waiting already")]
    Overloaded,
    /// It broke while it worked on this; whether anything was done is unknown.
    #[error("the request broke the part that worked on it")]
    Failed,
    /// There is nothing, as far as can be known while the cache cannot be asked.
    #[error("whether there is such a work is not known")]
    Unsure,
    /// It has been stopped; nothing was done.
    #[error("the service is stopping")]
    Stopped,
    /// It asked the store, which has this to say.
    #[error(transparent)]
    Store(#[from] StoreError),
}
