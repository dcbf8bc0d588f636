//! Workers in any language: they claim due works over HTTP, tell that they are at work, and report how it ended.
//!
//! A claim makes a row `running` under a lease, and its token is the proof of that very run. So a worker that wakes up
//! late has no say in a newer attempt.

mod claimer;
mod heard;
mod reports;
mod token;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::claimer::{Claimer, Waiting, hand_back};
use self::heard::Heard;
use self::reports::Reports;
use super::actors::{Mailbox, MailboxOptions, Reply, open};
use super::{Actor, ActorError, Works};
use crate::domain::{KindName, Work, WorkerName};
use crate::feed::AnyFeed;
use crate::kinds::{Delivery, KnownKind, Registry, UnknownKind};
use crate::log_repeated;
use crate::runtime::supervise;
use crate::store::{self, AnyStore, ClaimedRun, RunningWork, WorkerRow};

pub use self::reports::{Beat, Heartbeat, Over, RunEnd};
pub use self::token::{RunToken, RunTokenError};

/// The most workers that wait in one process.
const MOST_WAITING: usize = 10_000;
/// The most requests that one batch of reports joins.
const BATCH: usize = 512;

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

/// The reason why a worker gets no works of a kind.
#[derive(Clone, Debug)]
pub enum ClaimError {
    /// The kind is not known.
    Unknown(KindName, UnknownKind),
    /// Works of the kind come to their workers in this other way.
    OtherDelivery(KindName, Delivery),
    /// The claims failed.
    Actor(ActorError),
}

type Ends = Vec<(RunToken, RunEnd)>;
type Ended = Vec<Result<Work, Over>>;
type Beats = Vec<Result<Beat, Over>>;

/// Serves workers in any language. Clones share their state.
#[derive(Clone)]
pub struct RunService {
    store: AnyStore,
    feed: AnyFeed,
    kinds: Registry,
    works: Works,
    heard: Arc<Heard>,
    waiting: mpsc::Sender<Waiting>,
    ends: Mailbox<Ends, Ended>,
    beats: Mailbox<Vec<Heartbeat>, Beats>,
}

/// The running tasks behind a [`RunService`]. The owner stops them.
pub struct RunServing(Actor);

/// The limits of a [`RunService`].
#[derive(Clone, Copy, Debug)]
pub struct RunLimits {
    /// The maximum number of waiting reports of each sort.
    pub mailbox: usize,
    /// The maximum size of a result in bytes.
    pub args_limit: usize,
}

impl RunServing {
    /// Starts everything on the current runtime. The waits of workers end when `shutdown` is cancelled; reports are taken
    /// until the stop.
    pub fn start(
        store: &AnyStore,
        feed: &AnyFeed,
        kinds: &Registry,
        works: Works,
        limits: RunLimits,
        shutdown: CancellationToken,
    ) -> (Self, RunService) {
        let (actor, heard) = (Actor::default(), Arc::new(Heard::default()));
        let (waiting, incoming) = mpsc::channel(MOST_WAITING);
        let claimer = Claimer {
            store: Arc::clone(store),
            feed: Arc::clone(feed),
            kinds: kinds.clone(),
            incoming,
            waiting: VecDeque::new(),
        };
        let token = shutdown.clone();
        actor.spawn(supervise(
            "claims of workers",
            None,
            shutdown.clone(),
            claimer,
            move |claimer| claimer.run(token.clone()).boxed(),
        ));
        actor.spawn({
            let (heard, store) = (Arc::clone(&heard), Arc::clone(store));
            async move { heard.run(&store, &shutdown).await }
        });
        let reports = Reports {
            store: Arc::clone(store),
            feed: Arc::clone(feed),
            kinds: kinds.clone(),
            args_limit: limits.args_limit,
        };
        let options = |name| MailboxOptions {
            name,
            capacity: limits.mailbox,
            batch: BATCH,
            lanes: 1,
        };
        let of_ends = reports.clone();
        let ends = open(&actor, options("runs: end"), move |asked: Vec<Ends>, replies| {
            let reports = of_ends.clone();
            async move {
                let (all, sizes) = joined(asked);
                answer_parts("ends of runs", reports.end(&all).await, &sizes, replies);
            }
        });
        let beats = open(
            &actor,
            options("runs: heartbeat"),
            move |asked: Vec<Vec<Heartbeat>>, replies| {
                let reports = reports.clone();
                async move {
                    let (all, sizes) = joined(asked);
                    answer_parts("heartbeats", reports.beat(&all).await, &sizes, replies);
                }
            },
        );
        let service = RunService {
            store: Arc::clone(store),
            feed: Arc::clone(feed),
            kinds: kinds.clone(),
            works,
            heard,
            waiting,
            ends,
            beats,
        };
        (Self(actor), service)
    }

    /// Answers what waits and ends, within this time.
    pub async fn stop(self, grace: Duration) {
        let _ = timeout(grace, self.0.stop()).await;
    }
}

impl RunService {
    /// Claims due works for a worker, or waits for the first of them. None after the wait, or once the worker has `left`.
    ///
    /// # Errors
    /// A kind is not declared or not claimed by workers, too many workers wait, or the store cannot be asked.
    pub async fn claim(
        &self,
        wanted: ClaimRuns,
        left: impl Future<Output = ()>,
    ) -> Result<Vec<(RunToken, ClaimedRun)>, ClaimError> {
        let mut lease = wanted.lease;
        for kind in &wanted.kinds {
            let is_pulled = |known: &KnownKind| known.delivery == Delivery::Pull;
            let known = self.kinds.find_where(kind, is_pulled).await;
            let known = known.map_err(|why| ClaimError::Unknown(kind.clone(), why))?;
            if !is_pulled(&known) {
                return Err(ClaimError::OtherDelivery(kind.clone(), known.delivery));
            }
            lease = lease.min(known.policy.timeout);
        }
        self.heard.note(&wanted.worker, &wanted.kinds);
        let mut kinds = wanted.kinds;
        kinds.sort_unstable();
        kinds.dedup();
        let (reply, mut answer) = oneshot::channel();
        let waiting = Waiting {
            kinds,
            worker: wanted.worker,
            lease,
            max: usize::from(wanted.max),
            until: Instant::now() + wanted.wait,
            reply,
        };
        self.waiting.try_send(waiting).map_err(|error| {
            ClaimError::Actor(match error {
                mpsc::error::TrySendError::Full(_) => ActorError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => ActorError::Stopped,
            })
        })?;
        let runs = tokio::select! {
            biased;
            runs = &mut answer => runs.unwrap_or(Err(ActorError::Failed)).map_err(ClaimError::Actor)?,
            () = left => {
                answer.close();
                // Works may have come at this very moment.
                if let Ok(Ok(runs)) = answer.try_recv() {
                    self.give_back(runs).await;
                }
                Vec::new()
            }
        };
        Ok(runs.into_iter().map(|run| (RunToken::of(&run, lease), run)).collect())
    }

    /// Makes claimed works pending again that did not get to their worker.
    pub async fn give_back(&self, runs: Vec<ClaimedRun>) {
        hand_back(&self.store, &self.feed, runs).await;
    }

    /// Ends runs. Returns for each, in order, the work as it is now, or why the run is over. The same end again has the
    /// same answer.
    pub async fn end(&self, ends: Ends) -> Result<Ended, ActorError> {
        let since = self.works.moments().await;
        let ended = self.ends.ask(ends).await?;
        let works = ended.iter().filter_map(|one| one.as_ref().ok());
        self.works.written(works.cloned().collect(), since).await;
        Ok(ended)
    }

    /// Extends the leases of runs. Returns for each, in order, the new lease, or why the run is over.
    pub async fn beat(&self, beats: Vec<Heartbeat>) -> Result<Beats, ActorError> {
        self.beats.ask(beats).await
    }

    /// Workers, the one that was heard of last first, and what runs, the longest first. At most `limit` of each.
    pub async fn workers(&self, limit: u16) -> store::Result<(Vec<WorkerRow>, Vec<RunningWork>)> {
        Ok((self.store.workers(limit).await?, self.store.running_works(limit).await?))
    }
}

/// The parts of several requests together, and how many each has.
fn joined<T>(asked: Vec<Vec<T>>) -> (Vec<T>, Vec<usize>) {
    let sizes = asked.iter().map(Vec::len).collect();
    (asked.into_iter().flatten().collect(), sizes)
}

/// Answers requests with their parts of the answers, or all with the error.
fn answer_parts<T>(what: &'static str, answers: store::Result<Vec<T>>, sizes: &[usize], replies: Vec<Reply<Vec<T>>>) {
    match answers {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for (reply, size) in replies.into_iter().zip(sizes) {
                let _ = reply.send(Ok(answers.by_ref().take(*size).collect()));
            }
        }
        Err(error) => {
            log_repeated!(Warn, what, "{error}");
            for reply in replies {
                let _ = reply.send(Err(error.clone().into()));
            }
        }
    }
}
