//! The consumer takes demands in batches, computes them, records each batch in one transaction, then acknowledges.
//!
//! Until the commit, the message carries the demand: without an acknowledgement it is redelivered. After the commit,
//! the row carries it. So a batch is acknowledged after its commit, and every redelivery finds its row finished.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, join_all};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{AnyBroker, Prefetch, Queue};
use crate::claims::Claims;
use crate::domain::{Json, KindName, WorkerName};
use crate::feed::AnyFeed;
use crate::kinds::{Context, Failure, Handler, Outlet, Policy};
use crate::runtime::Part;
use crate::store::{AnyStore, Outcome};
use crate::worker::attempt::{Attempt, Attempts};
use crate::worker::isolation;
use crate::worker::lane::RunningLane;
use crate::worker::metrics::Meter;
use crate::worker::running::{Running, SlowAttempt};

/// The time after which a run is slow: the batch no longer waits for it and records its work as `running`.
const SLOW_AFTER: Duration = Duration::from_millis(20);
/// The same time for a run whose work is recorded as `running` already.
const ANNOUNCED_SLOW_AFTER: Duration = Duration::from_millis(1);

/// The number of concurrent batches: while the store records one, the next is received and computed.
const LANES: u16 = 2;

/// The settings of a worker for one kind.
#[derive(Clone, Debug)]
pub struct ConsumeSettings {
    /// The maximum number of unacknowledged messages. At most twice the places are used.
    pub prefetch: u16,
    /// The maximum total size of these messages. Each lane has its share and may exceed it by one message.
    pub prefetch_bytes: usize,
    /// The longest time that a batch which is not full waits for another one that is under way.
    pub batch_wait: Duration,
    /// The maximum size of a work's arguments in a message, and of its result, in bytes.
    pub args_limit: usize,
    /// The policy of the kind. Each lane has its share of the places, and records that many together.
    pub policy: Policy,
    /// The time that a stop waits for works under way.
    pub grace: Duration,
}

/// A worker's lane takes one batch after the other. The lanes share the worker's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) prefetch: Prefetch,
    pub(super) batch: u16,
}

impl ConsumeSettings {
    /// The lanes for this many places, with their shares of the limits.
    fn lanes(&self, places: u16) -> impl Iterator<Item = Lane> {
        // More messages would only wait here for the current batch, out of reach of other workers.
        let (prefetch, bytes) = (self.prefetch.min(places.saturating_mul(2)), self.prefetch_bytes);
        let lanes = LANES.min(places).min(prefetch).max(1);
        let share = move |all: u16, lane: u16| all / lanes + u16::from(lane < all % lanes);
        (0..lanes).map(move |lane| Lane {
            prefetch: Prefetch {
                messages: share(prefetch, lane),
                bytes: bytes / usize::from(lanes),
            },
            batch: share(places, lane),
        })
    }
}

/// Consumes demands; see the module.
pub struct Consumer {
    pub(super) store: AnyStore,
    pub(super) broker: AnyBroker,
    pub(super) feed: AnyFeed,
    pub(super) attempts: Attempts,
    pub(super) settings: ConsumeSettings,
    /// Its name among the workers.
    pub(super) worker: Option<WorkerName>,
    /// Where it claims works, if they pass no broker.
    pub(super) claims: Option<Claims>,
    pub(super) group_lock: GroupLock,
    /// Held by the batch under way that is not full.
    pub(super) turn: Mutex<()>,
}

/// Lets groups of first deliveries run concurrently, and runs a group that may have crashed a worker alone.
#[derive(Debug, Default)]
pub(super) struct GroupLock(RwLock<()>);

impl GroupLock {
    pub(super) async fn acquire(&self, group: &[Attempt]) -> Either<RwLockReadGuard<'_, ()>, RwLockWriteGuard<'_, ()>> {
        match isolation::is_alone(group) {
            true => Either::Right(self.0.write().await),
            false => Either::Left(self.0.read().await),
        }
    }
}

/// The progress of an attempt within its batch.
pub(super) enum Progress {
    Ended(Outcome),
    Slow(Task),
    /// Others end the run.
    Left,
}

impl Progress {
    fn ended(outcome: Option<Outcome>) -> Self {
        outcome.map_or(Self::Left, Self::Ended)
    }
}

/// A run that continues in a task of its own.
pub(super) struct Task {
    pub(super) handle: JoinHandle<Result<Json, Failure>>,
    pub(super) context: Context,
}

impl Consumer {
    /// A consumer that runs the `handler` of a kind and announces recorded outcomes on the feed.
    pub fn new(
        store: AnyStore,
        broker: AnyBroker,
        feed: AnyFeed,
        kind: KindName,
        handler: Arc<dyn Handler>,
        settings: ConsumeSettings,
    ) -> Self {
        let policy = watch::channel(settings.policy.clone()).1;
        let outlet = Outlet::Store(store.clone(), feed.clone());
        Self {
            store,
            broker,
            feed,
            attempts: Attempts {
                meter: Arc::new(Meter::new(&kind)),
                kind,
                handler,
                outlet,
                policy,
                args_limit: settings.args_limit,
            },
            settings,
            worker: None,
            claims: None,
            group_lock: GroupLock::default(),
            turn: Mutex::default(),
        }
    }

    /// The same consumer with a policy that changes.
    #[must_use]
    pub fn following(mut self, policy: watch::Receiver<Policy>) -> Self {
        self.attempts.policy = policy;
        self
    }

    /// The same consumer of a system without a broker: it claims its works from the store, under this name.
    #[must_use]
    pub fn claiming(mut self, claims: Claims) -> Self {
        self.claims = Some(claims);
        self
    }

    /// The same consumer with a name, which its running works show.
    #[must_use]
    pub fn named(mut self, worker: WorkerName) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Consumes until `shutdown` is cancelled. Then it finishes the works under way, or hands them back after the grace
    /// period. `part` shows its health.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let abandon = CancellationToken::new();
        let (slow, incoming) = mpsc::channel(usize::from(self.attempts.policy.borrow().places));
        let running = Running {
            store: self.store.clone(),
            feed: self.feed.clone(),
            attempts: self.attempts.clone(),
            abandon: abandon.clone(),
        };
        let running = tokio::spawn(running.run(incoming));
        tokio::spawn({
            let (shutdown, abandon, grace) = (shutdown.clone(), abandon.clone(), self.settings.grace);
            async move {
                shutdown.cancelled().await;
                tokio::time::sleep(grace).await;
                abandon.cancel();
            }
        });
        let mut policy = self.attempts.policy.clone();
        while !shutdown.is_cancelled() {
            let current = policy.borrow_and_update().clone();
            let stop = shutdown.child_token();
            let taking = self.take(&current, &slow, &part, &stop, &abandon);
            tokio::join!(taking, stop_at_change(&mut policy, &current, &stop));
        }
        drop(slow);
        self.attempts.meter.places(0);
        if let Err(error) = running.await {
            log::error!("the task that tracks running works failed: {error}");
        }
    }

    /// Takes demands under this policy until `stop` is cancelled.
    async fn take(
        &self,
        policy: &Policy,
        slow: &mpsc::Sender<SlowAttempt>,
        part: &Part,
        stop: &CancellationToken,
        abandon: &CancellationToken,
    ) {
        self.attempts
            .meter
            .places(if policy.paused { 0 } else { policy.places });
        if policy.paused {
            log::info!("works of kind {} are paused", self.attempts.kind);
            return stop.cancelled().await;
        }
        let lanes = self.settings.lanes(policy.places).map(|lane| {
            let running = RunningLane {
                consumer: self,
                lane,
                places: Arc::new(Semaphore::new(usize::from(lane.batch))),
                slow: slow.clone(),
                stop,
                abandon,
            };
            running.run(part.clone())
        });
        join_all(lanes).await;
    }

    pub(super) fn queue(&self) -> Queue {
        Queue::Demand(self.attempts.kind.clone())
    }

    pub(super) fn running(&self) -> Outcome {
        Outcome::running_at(self.attempts.policy.borrow().lease, self.worker.clone())
    }

    /// True if the rows of a group are recorded as `running` before it is computed: computing has effects, a lost worker
    /// must be counted, or only the rows have the arguments.
    pub(super) fn announces(&self, group: &[Attempt]) -> bool {
        !self.attempts.handler.is_pure()
            || isolation::is_announced(group)
            || group.iter().any(|attempt| attempt.args.is_none())
    }

    /// Starts all attempts at once. Those that end soon have an outcome; the others continue in tasks.
    pub(super) async fn run_all(&self, attempts: &[Attempt]) -> Vec<Progress> {
        let mut progress: Vec<Progress> = Vec::with_capacity(attempts.len());
        let mut slow = Vec::new();
        for (index, attempt) in attempts.iter().enumerate() {
            let (mut handling, context) = self.attempts.start(attempt);
            progress.push(match handling.as_mut().now_or_never() {
                Some(result) => Progress::ended(self.attempts.judge(attempt, result)),
                None => {
                    slow.push(index);
                    let handle = tokio::spawn(handling);
                    Progress::Slow(Task { handle, context })
                }
            });
        }
        let announced = (attempts.first()).is_some_and(|attempt| attempt.guard.is_running());
        let patience = if announced { ANNOUNCED_SLOW_AFTER } else { SLOW_AFTER };
        let deadline = tokio::time::Instant::now() + patience;
        let waits = progress.iter_mut().filter_map(|progress| match progress {
            Progress::Slow(task) => Some(tokio::time::timeout_at(deadline, &mut task.handle)),
            Progress::Ended(_) | Progress::Left => None,
        });
        for (index, ended) in slow.into_iter().zip(join_all(waits).await) {
            if let Ok(Ok(result)) = ended {
                progress[index] = Progress::ended(self.attempts.judge(&attempts[index], result));
            }
        }
        progress
    }
}

/// Cancels `stop` when the policy asks for other subscriptions than the current one. Ends when it is cancelled.
async fn stop_at_change(policy: &mut watch::Receiver<Policy>, current: &Policy, stop: &CancellationToken) {
    let subscriptions = |policy: &Policy| (policy.paused, policy.places, policy.queue.clone());
    let differs = policy.wait_for(|policy| subscriptions(policy) != subscriptions(current));
    // Without its sender a policy stays as it is.
    if let Some(Ok(_)) = stop.run_until_cancelled(differs).await {
        stop.cancel();
    } else {
        stop.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AddUpTo, Origin};
    use crate::runtime::{new_message_id, new_work_code};

    fn shares(prefetch: u16, batch: u16) -> Vec<(u16, u16)> {
        let settings = ConsumeSettings {
            prefetch,
            prefetch_bytes: 1_000,
            batch_wait: Duration::ZERO,
            args_limit: 0,
            policy: Policy::DEFAULT,
            grace: Duration::ZERO,
        };
        let lanes: Vec<Lane> = settings.lanes(batch).collect();
        let bytes = 1_000 / lanes.len();
        assert!(lanes.iter().all(|lane| lane.prefetch.bytes == bytes));
        lanes.iter().map(|lane| (lane.prefetch.messages, lane.batch)).collect()
    }

    #[test]
    fn lanes_share_the_limits_and_none_is_empty() {
        assert_eq!(shares(2000, 1000), [(1000, 500), (1000, 500)]);
        assert_eq!(shares(7, 3), [(3, 2), (3, 1)]);
        assert_eq!(shares(2, 1), [(2, 1)]);
        assert_eq!(shares(1, 1000), [(1, 1000)]);
    }

    #[tokio::test]
    async fn a_redelivered_group_runs_alone() {
        let [new, again] = [0, 1].map(|delivery_count| {
            let (id, code) = (new_message_id(), new_work_code(Origin::Consumer));
            let mut attempt = Attempt::at_new_work(id, AddUpTo::MIN.args(), code);
            attempt.delivery_count = delivery_count;
            vec![attempt]
        });
        let lock = GroupLock::default();
        let concurrent = (lock.acquire(&new).await, lock.acquire(&new).await);
        assert!(lock.acquire(&again).now_or_never().is_none());
        drop(concurrent);
        let alone = lock.acquire(&again).await;
        assert!(lock.acquire(&new).now_or_never().is_none());
        assert!(lock.acquire(&again).now_or_never().is_none());
        drop(alone);
        assert!(lock.acquire(&new).now_or_never().is_some());
    }
}
