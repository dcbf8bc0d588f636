//! Claims of due works straight from the store: for workers outside, and for consumers where works pass no broker.

mod claimer;
pub(crate) mod metrics;
mod shown;
mod token;
mod workers;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::claimer::{Claimer, Waiting, hand_back};
use crate::domain::{KindName, WorkerName};
use crate::feed::AnyFeed;
use crate::kinds::Registry;
use crate::runtime::{Trouble, supervise};
use crate::store::{AnyStore, ClaimedRun, StoreError};

pub use self::shown::ShownRun;
pub use self::token::{RunToken, RunTokenError};
pub use self::workers::{SeenRun, SeenWorker, workers};

/// The most workers that wait in one process.
const MOST_WAITING: usize = 10_000;

/// A worker's question for works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRuns {
    /// The kinds that it does.
    pub kinds: Vec<KindName>,
    /// Its name.
    pub worker: WorkerName,
    /// The most works that it takes.
    pub max: u16,
    /// The longest wait for the first one.
    pub wait: Duration,
    /// Its longest silence about each.
    pub lease: Duration,
}

/// The reason why nothing was claimed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Too many workers wait already.
    #[error("too many workers wait already")]
    Overloaded,
    /// The process stops.
    #[error("the service is stopping")]
    Stopped,
    /// The task broke.
    #[error("the claim broke the part that worked on it")]
    Failed,
    /// The store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Trouble for ClaimsError {
    fn summary(&self) -> &'static str {
        match self {
            Self::Overloaded => "too many workers wait",
            Self::Stopped | Self::Failed => "claims are not answered",
            Self::Store(error) => error.summary(),
        }
    }
}

/// Claims works for the workers of a process. Clones share the task.
#[derive(Clone)]
pub struct Claims {
    store: AnyStore,
    feed: AnyFeed,
    waiting: mpsc::Sender<Waiting>,
}

impl Claims {
    /// The handle, and the task behind it, which ends when `shutdown` is cancelled.
    pub fn new(
        store: &AnyStore,
        feed: &AnyFeed,
        kinds: &Registry,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (waiting, incoming) = mpsc::channel(MOST_WAITING);
        let claimer = Claimer {
            store: Arc::clone(store),
            feed: Arc::clone(feed),
            kinds: kinds.clone(),
            incoming,
            waiting: VecDeque::new(),
        };
        let token = shutdown.clone();
        let task = supervise("claims", None, shutdown, claimer, move |claimer| {
            claimer.run(token.clone()).boxed()
        });
        let claims = Self {
            store: Arc::clone(store),
            feed: Arc::clone(feed),
            waiting,
        };
        (claims, task)
    }

    /// Claims due works for a worker, or waits for the first of them. None after the wait, or once the worker has `left`.
    ///
    /// # Errors
    /// Too many workers wait, or the store cannot be asked.
    pub async fn claim(
        &self,
        wanted: ClaimRuns,
        left: impl Future<Output = ()>,
    ) -> Result<Vec<ClaimedRun>, ClaimsError> {
        let mut kinds = wanted.kinds;
        kinds.sort_unstable();
        kinds.dedup();
        let (reply, mut answer) = oneshot::channel();
        let waiting = Waiting {
            kinds,
            worker: wanted.worker,
            lease: wanted.lease,
            max: usize::from(wanted.max),
            until: Instant::now() + wanted.wait,
            reply,
        };
        self.waiting.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ClaimsError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ClaimsError::Stopped,
        })?;
        tokio::select! {
            biased;
            runs = &mut answer => runs.unwrap_or(Err(ClaimsError::Failed)),
            () = left => {
                answer.close();
                // Works may have come at this very moment.
                if let Ok(Ok(runs)) = answer.try_recv() {
                    self.give_back(runs).await;
                }
                Ok(Vec::new())
            }
        }
    }

    /// Makes claimed works pending again that did not get to their worker.
    pub async fn give_back(&self, runs: Vec<ClaimedRun>) {
        if !runs.is_empty() {
            hand_back(&self.store, &self.feed, runs).await;
        }
    }
}
