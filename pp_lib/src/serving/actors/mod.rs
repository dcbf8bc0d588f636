//! Actors put a bounded mailbox in front of each shared resource and process waiting requests as one batch.
//!
//! A full mailbox refuses at once, a panic fails only its own batch, and no actor waits for one request while others
//! could proceed. Actors run on the runtime that starts them: the main runtime, not the web server's workers.

mod breaker;
mod cache;
mod mailbox;
mod publisher;
mod store;

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::WorksPerDay;
use crate::store::StoreError;

pub use cache::{CacheAnswer, CacheHandle};
pub(in crate::serving) use mailbox::{Mailbox, MailboxOptions, Reply, open};
pub use publisher::{DemandHandle, OfferOutcome};
pub use store::{StoreHandle, StoreOptions};

/// A running actor. The owner stops it.
#[derive(Debug, Default)]
pub struct Actor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Actor {
    /// Runs a task that the actor's stop waits for.
    pub(in crate::serving) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Refuses new requests, answers the waiting ones, and returns when none is under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The error of a request to an actor.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActorError {
    /// The mailbox is full. Nothing was done, and the same call may succeed soon.
    #[error("too much is waiting already")]
    Overloaded,
    /// The actor panicked while processing the request. The effect is unknown.
    #[error("the request broke the part that worked on it")]
    Failed,
    /// The store has no such work, but the unavailable cache may know a demand for it.
    #[error("whether there is such a work is not known")]
    Unsure,
    /// The actor was stopped. Nothing was done.
    #[error("the service is stopping")]
    Stopped,
    /// The API key has created all the works that it may create in a day. Nothing was done.
    #[error("the key may create {most} works in a day")]
    TooManyToday {
        /// The bound.
        most: WorksPerDay,
        /// Until the next day begins.
        next_day_in: Duration,
    },
    /// The store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
