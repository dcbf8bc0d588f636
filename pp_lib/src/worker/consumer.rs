//! The consumer takes demands in batches, computes them, records each batch in one transaction, then acknowledges.
//!
//! Until the commit, the message carries the demand: without an acknowledgement it is redelivered. After the commit,
//! the row carries it. So a batch is acknowledged after its commit, and every redelivery finds its row finished.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, join_all};
use tokio::sync::{OwnedSemaphorePermit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, AnyBroker, DeadLetter, Delivery, Prefetch, Queue, Subscription};
use crate::domain::{Computation, ComputeError, Json, KindName};
use crate::feed::AnyFeed;
use crate::log_repeated;
use crate::runtime::{Part, Retry};
use crate::store::{AnyStore, Completion, Guard, Outcome};
use crate::worker::attempt::{Attempt, Attempts};
use crate::worker::batch::{self, Batch};
use crate::worker::completion::{CompletionResult, complete};
use crate::worker::running::{Running, SlowAttempt};
use crate::worker::{decoding, isolation};

/// The time after which a computation is slow: the batch no longer waits for it and records its work as `running`.
const SLOW_AFTER: Duration = Duration::from_millis(20);

/// The number of concurrent batches: while the store records one, the next is received and computed.
const LANES: u16 = 2;

/// The settings of a worker.
#[derive(Clone, Debug)]
pub struct ConsumeSettings {
    /// The maximum number of unacknowledged messages.
    pub prefetch: u16,
    /// The maximum total size of these messages. Each lane has its share and may exceed it by one message.
    pub prefetch_bytes: usize,
    /// The maximum number of concurrent computations. Each lane records its share together.
    pub batch: u16,
    /// The time that a batch waits for more messages after its first one.
    pub batch_wait: Duration,
    /// The number of failed attempts after which a work is given up.
    pub max_attempts: i32,
    /// The lease of a running work. Without an extension another worker then takes it over.
    pub lease: Duration,
    /// The time limit of one computation.
    pub work_timeout: Duration,
    /// The time that a stop waits for works under way.
    pub grace: Duration,
}

/// A worker's lane takes one batch after the other. The lanes share the worker's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lane {
    prefetch: Prefetch,
    batch: u16,
}

impl ConsumeSettings {
    /// The lanes, with their shares of the limits.
    fn lanes(&self) -> impl Iterator<Item = Lane> {
        let Self {
            prefetch,
            prefetch_bytes,
            batch,
            ..
        } = *self;
        let lanes = LANES.min(batch).min(prefetch).max(1);
        let share = move |all: u16, lane: u16| all / lanes + u16::from(lane < all % lanes);
        (0..lanes).map(move |lane| Lane {
            prefetch: Prefetch {
                messages: share(prefetch, lane),
                bytes: prefetch_bytes / usize::from(lanes),
            },
            batch: share(batch, lane),
        })
    }
}

/// Consumes demands; see the module.
pub struct Consumer {
    store: AnyStore,
    broker: AnyBroker,
    feed: AnyFeed,
    attempts: Attempts,
    settings: ConsumeSettings,
    group_lock: GroupLock,
}

/// Lets groups of first deliveries run concurrently, and runs a group that may have crashed a worker alone.
#[derive(Debug, Default)]
struct GroupLock(RwLock<()>);

impl GroupLock {
    async fn acquire(&self, group: &[Attempt]) -> Either<RwLockReadGuard<'_, ()>, RwLockWriteGuard<'_, ()>> {
        match isolation::is_alone(group) {
            true => Either::Right(self.0.write().await),
            false => Either::Left(self.0.read().await),
        }
    }
}

/// The progress of an attempt within its batch.
enum Progress {
    Ended(Outcome),
    Slow(JoinHandle<Result<Json, ComputeError>>),
}

impl Consumer {
    /// A consumer that runs the `computation` of a kind and announces recorded outcomes on the feed.
    pub fn new(
        store: AnyStore,
        broker: AnyBroker,
        feed: AnyFeed,
        kind: KindName,
        computation: Arc<dyn Computation>,
        settings: ConsumeSettings,
    ) -> Self {
        let (max_attempts, work_timeout) = (settings.max_attempts, settings.work_timeout);
        Self {
            store,
            broker,
            feed,
            attempts: Attempts {
                kind,
                computation,
                max_attempts,
                work_timeout,
            },
            settings,
            group_lock: GroupLock::default(),
        }
    }

    /// Consumes until `shutdown` is cancelled. Then it finishes the works under way, or hands them back after the grace
    /// period. `part` shows its health.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let abandon = CancellationToken::new();
        let (slow, incoming) = mpsc::channel(usize::from(self.settings.batch));
        let running = Running {
            store: self.store.clone(),
            feed: self.feed.clone(),
            attempts: self.attempts.clone(),
            lease: self.settings.lease,
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
        let lanes = self.settings.lanes();
        let lanes = lanes.map(|lane| {
            let running = RunningLane {
                consumer: &self,
                lane,
                places: Arc::new(Semaphore::new(usize::from(lane.batch))),
                slow: slow.clone(),
                shutdown: &shutdown,
                abandon: &abandon,
            };
            running.run(part.clone())
        });
        join_all(lanes).await;
        drop(slow);
        if let Err(error) = running.await {
            log::error!("the task that tracks running works failed: {error}");
        }
    }

    fn outcome(&self, progress: &Progress) -> Outcome {
        match progress {
            Progress::Ended(outcome) => outcome.clone(),
            Progress::Slow(_) => self.running(),
        }
    }

    fn queue(&self) -> Queue {
        Queue::Demand(self.attempts.kind.clone())
    }

    fn running(&self) -> Outcome {
        Outcome::running(self.settings.lease)
    }

    /// True if the rows of a group are recorded as `running` before it is computed: computing has effects, a lost worker
    /// must be counted, or only the rows have the arguments.
    fn announces(&self, group: &[Attempt]) -> bool {
        !self.attempts.computation.is_pure()
            || isolation::is_announced(group)
            || group.iter().any(|attempt| attempt.args.is_none())
    }

    /// Starts all attempts at once. Those that end within [`SLOW_AFTER`] have an outcome; the others continue in tasks.
    async fn compute(&self, attempts: &[Attempt]) -> Vec<Progress> {
        let mut progress: Vec<Progress> = Vec::with_capacity(attempts.len());
        let mut slow = Vec::new();
        for (index, attempt) in attempts.iter().enumerate() {
            let mut computing = self.attempts.start(attempt);
            progress.push(match computing.as_mut().now_or_never() {
                Some(result) => Progress::Ended(self.attempts.judge(attempt, result)),
                None => {
                    slow.push(index);
                    Progress::Slow(tokio::spawn(computing))
                }
            });
        }
        let deadline = tokio::time::Instant::now() + SLOW_AFTER;
        let waits = progress.iter_mut().filter_map(|progress| match progress {
            Progress::Slow(task) => Some(tokio::time::timeout_at(deadline, task)),
            Progress::Ended(_) => None,
        });
        for (index, ended) in slow.into_iter().zip(join_all(waits).await) {
            if let Ok(Ok(result)) = ended {
                progress[index] = Progress::Ended(self.attempts.judge(&attempts[index], result));
            }
        }
        progress
    }
}

/// A lane at work. It hands works that take long to `slow`.
struct RunningLane<'a> {
    consumer: &'a Consumer,
    lane: Lane,
    places: Arc<Semaphore>,
    slow: mpsc::Sender<SlowAttempt>,
    shutdown: &'a CancellationToken,
    abandon: &'a CancellationToken,
}

impl RunningLane<'_> {
    /// Takes demands, and subscribes again after each failure.
    async fn run(self, part: Part) {
        let mut retry = Retry::shown("taking demands", part);
        while !self.shutdown.is_cancelled() {
            let error = match self
                .consumer
                .broker
                .subscribe(&self.consumer.queue(), self.lane.prefetch)
                .await
            {
                Ok(subscription) => {
                    retry.recovered();
                    self.take(subscription).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = error {
                retry.wait(&error, self.shutdown).await;
            }
        }
    }

    async fn take(&self, mut subscription: Box<dyn Subscription>) -> broker::Result<()> {
        loop {
            let next = async {
                // Wait for one free place, then take as many demands as there are free places.
                drop(self.places.acquire().await);
                let free = self.places.available_permits().max(1);
                subscription.next_batch(free, self.consumer.settings.batch_wait).await
            };
            let deliveries = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                deliveries = next => deliveries?,
            };
            for group in isolation::delivery_groups(deliveries) {
                self.process(group, &mut *subscription).await?;
                if self.shutdown.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }

    /// Decodes messages, completes their demands and acknowledges them.
    async fn process(&self, mut deliveries: Vec<Delivery>, subscription: &mut dyn Subscription) -> broker::Result<()> {
        let Batch {
            attempts,
            finished,
            dead,
        } = batch::sort(&self.consumer.attempts.kind, &deliveries);
        if !dead.is_empty() {
            self.consumer.broker.dead_letter(&dead).await?;
            // The acknowledgement frees their share of the prefetch bytes, so their memory is freed before it.
            let finished: HashSet<&u64> = finished.iter().collect();
            deliveries.retain(|delivery| !finished.contains(&delivery.tag));
            drop(dead);
        }
        subscription.acknowledge(&finished).await?;
        for group in isolation::attempt_groups(attempts) {
            let finished = {
                let _guard = self.consumer.group_lock.acquire(&group).await;
                self.complete_group(group, &deliveries).await?
            };
            subscription.acknowledge(&finished).await?;
            if self.shutdown.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Computes and records a group. Returns the tags to acknowledge.
    async fn complete_group(&self, group: Vec<Attempt>, deliveries: &[Delivery]) -> broker::Result<Vec<u64>> {
        let mut group_result = GroupResult::default();
        let (mut unannounced, mut announced) = (group, Vec::new());
        if self.consumer.announces(&unannounced) {
            std::mem::swap(&mut unannounced, &mut announced);
        }
        // An attempt that was computed with other arguments than the row's is announced, which tells the row's.
        announced.append(&mut self.record(unannounced, &mut group_result).await);
        let started = self.announce(announced, &mut group_result).await;
        self.record(started, &mut group_result).await;
        if !group_result.refused.is_empty() {
            let dead: Vec<DeadLetter> = group_result.dead_letters(&self.consumer.attempts.kind, deliveries);
            self.consumer.broker.dead_letter(&dead).await?;
        }
        Ok(group_result.tags)
    }

    /// Computes attempts and records their outcomes. Returns attempts at pending rows that were superseded.
    async fn record(&self, attempts: Vec<Attempt>, group_result: &mut GroupResult) -> Vec<Attempt> {
        let progress = self.consumer.compute(&attempts).await;
        let (mut unrecorded, mut completions) = (Vec::new(), Vec::new());
        for (attempt, progress) in attempts.into_iter().zip(progress) {
            match (progress, attempt.guard) {
                // Its row is already recorded as `running`.
                (Progress::Slow(task), Guard::Running(_)) => {
                    group_result.finished(&attempt);
                    self.hand_over(attempt, task).await;
                }
                (progress, _) => {
                    completions.push(attempt.completion(self.consumer.outcome(&progress)));
                    unrecorded.push((attempt, progress));
                }
            }
        }
        let results = self.complete(&mut completions).await;
        let mut superseded = Vec::new();
        for ((attempt, progress), result) in unrecorded.into_iter().zip(results) {
            match (progress, result) {
                (Progress::Slow(task), CompletionResult::Started(args)) => {
                    group_result.finished(&attempt);
                    self.hand_over(attempt.running(args), task).await;
                }
                (progress, result) => {
                    if let Progress::Slow(task) = progress {
                        task.abort();
                    }
                    match (result, attempt.guard) {
                        (CompletionResult::Superseded, Guard::Pending(_)) => superseded.push(attempt),
                        (result, _) => group_result.add(&attempt, result),
                    }
                }
            }
        }
        superseded
    }

    /// Records the attempts as `running` before they start. Returns those that may start, with the arguments of their
    /// rows.
    async fn announce(&self, attempts: Vec<Attempt>, group_result: &mut GroupResult) -> Vec<Attempt> {
        let mut completions: Vec<Completion> = attempts
            .iter()
            .map(|attempt| attempt.announcement(self.consumer.running()))
            .collect();
        let results = self.complete(&mut completions).await;
        let mut started = Vec::new();
        for (attempt, result) in attempts.into_iter().zip(results) {
            match result {
                CompletionResult::Started(args) => started.push(attempt.running(args)),
                result => group_result.add(&attempt, result),
            }
        }
        started
    }

    async fn complete(&self, completions: &mut [Completion]) -> Vec<CompletionResult> {
        let Consumer {
            store, feed, attempts, ..
        } = self.consumer;
        complete(store, feed, &attempts.kind, completions, self.abandon).await
    }

    /// Hands a work recorded as `running` over to the task that tracks such works.
    async fn hand_over(&self, attempt: Attempt, task: JoinHandle<Result<Json, ComputeError>>) {
        let place = place(&self.places).await;
        let _ = self.slow.send(SlowAttempt { attempt, task, place }).await;
    }
}

/// The result of a group.
#[derive(Default)]
struct GroupResult {
    /// Deliveries to acknowledge.
    tags: Vec<u64>,
    /// Deliveries that the store refused in any form, with the reason.
    refused: Vec<(Vec<u64>, String)>,
}

impl GroupResult {
    fn add(&mut self, attempt: &Attempt, result: CompletionResult) {
        match result {
            // The broker redelivers it.
            CompletionResult::Abandoned => {}
            CompletionResult::Applied | CompletionResult::Started(_) | CompletionResult::Superseded => {
                self.finished(attempt);
            }
            CompletionResult::Refused(reason) => {
                log_repeated!(Error, "a demand is a dead letter", "{reason}");
                self.refused.push((attempt.tags.clone(), reason));
                self.finished(attempt);
            }
        }
    }

    fn finished(&mut self, attempt: &Attempt) {
        self.tags.extend(&attempt.tags);
    }

    fn dead_letters(&self, kind: &KindName, deliveries: &[Delivery]) -> Vec<DeadLetter> {
        let of_tag = |tag: &u64| deliveries.iter().find(|delivery| delivery.tag == *tag);
        let letters = self.refused.iter().flat_map(|(tags, reason)| {
            tags.iter()
                .filter_map(of_tag)
                .map(|delivery| decoding::dead_letter(kind, delivery, reason))
        });
        letters.collect()
    }
}

/// Takes the place of a slow work. One is free, because a batch is never larger than the number of free places.
async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places
        .clone()
        .acquire_owned()
        .await
        .unwrap_or_else(|_| unreachable!("the semaphore is never closed"))
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
            batch,
            batch_wait: Duration::ZERO,
            max_attempts: 1,
            lease: Duration::ZERO,
            work_timeout: Duration::ZERO,
            grace: Duration::ZERO,
        };
        let lanes: Vec<Lane> = settings.lanes().collect();
        let bytes = 1_000 / lanes.len();
        assert!(lanes.iter().all(|lane| lane.prefetch.bytes == bytes));
        lanes.iter().map(|lane| (lane.prefetch.messages, lane.batch)).collect()
    }

    #[test]
    fn lanes_share_the_limits_and_none_is_empty() {
        assert_eq!(shares(2000, 1000), [(1000, 500), (1000, 500)]);
        assert_eq!(shares(7, 3), [(4, 2), (3, 1)]);
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
