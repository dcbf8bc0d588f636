//! Workers in any language: they claim due works over HTTP, tell that they are at work, and report how it ended.
//!
//! A claim makes a row `running` under a lease, and its token is the proof of that very run. So a worker that wakes up
//! late has no say in a newer attempt.

mod heard;
mod reports;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::heard::Heard;
use self::reports::Reports;
use super::actors::{Mailbox, MailboxOptions, Reply, open};
use super::{Actor, ActorError, Works};
use crate::claims::{self, ClaimRuns, Claims, ClaimsError, RunToken, SeenWorker};
use crate::domain::{KindName, Work};
use crate::feed::AnyFeed;
use crate::kinds::{Delivery, KnownKind, Registry, UnknownKind};
use crate::log_repeated;
use crate::store::{self, AnyStore, ClaimedRun};

pub use self::reports::{Beat, Heartbeat, Over, RunEnd};

/// The most requests that one batch of reports joins.
const BATCH: usize = 512;

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

impl From<ClaimsError> for ActorError {
    fn from(error: ClaimsError) -> Self {
        match error {
            ClaimsError::Overloaded => Self::Overloaded,
            ClaimsError::Stopped => Self::Stopped,
            ClaimsError::Failed => Self::Failed,
            ClaimsError::Store(error) => Self::Store(error),
        }
    }
}

type Ends = Vec<(RunToken, RunEnd)>;
type Ended = Vec<Result<Work, Over>>;
type Beats = Vec<Result<Beat, Over>>;

/// Serves workers in any language. Clones share their state.
#[derive(Clone)]
pub struct RunService {
    store: AnyStore,
    kinds: Registry,
    works: Works,
    heard: Arc<Heard>,
    claims: Claims,
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
        let (claims, claiming) = Claims::new(store, feed, kinds, shutdown.clone());
        actor.spawn(claiming);
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
            kinds: kinds.clone(),
            works,
            heard,
            claims,
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
        let runs = self.claims.claim(ClaimRuns { lease, ..wanted }, left).await;
        let runs = runs.map_err(|error| ClaimError::Actor(error.into()))?;
        Ok(runs.into_iter().map(|run| (RunToken::of(&run, lease), run)).collect())
    }

    /// Makes claimed works pending again that did not get to their worker.
    pub async fn give_back(&self, runs: Vec<ClaimedRun>) {
        self.claims.give_back(runs).await;
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

    /// The workers, the one that was heard of last first, each with its running works. At most `limit` of each.
    pub async fn workers(&self, limit: u16) -> store::Result<Vec<SeenWorker>> {
        claims::workers(&self.store, limit).await
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
