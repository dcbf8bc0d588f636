//! A lane of a worker: takes one batch after the other, computes it, records it and acknowledges.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{MutexGuard, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::consumer::{Consumer, Lane, Progress, Task};
use crate::broker::{self, Delivery, Subscription};
use crate::domain::{PART_BYTES, parts};
use crate::runtime::{Part, Retry};
use crate::store::{Completion, Guard, NewWork};
use crate::worker::attempt::Attempt;
use crate::worker::batch::{self, Batch};
use crate::worker::completion::{CompletionResult, complete, leave};
use crate::worker::group_result::GroupResult;
use crate::worker::running::SlowAttempt;
use crate::worker::{insertion, isolation};

/// A batch with this part of the demands that have places, and more than one, is one of many.
const MANY: usize = 8;
/// The time without a demand after which no more are awaited.
const GAP: Duration = Duration::from_millis(1);

/// A lane at work. It hands works that take long to `slow`.
pub(super) struct RunningLane<'a> {
    pub(super) consumer: &'a Consumer,
    pub(super) lane: Lane,
    pub(super) places: Arc<Semaphore>,
    pub(super) slow: mpsc::Sender<SlowAttempt>,
    /// Cancelled when the lane is to take no more.
    pub(super) stop: &'a CancellationToken,
    pub(super) abandon: &'a CancellationToken,
}

impl RunningLane<'_> {
    /// Takes demands, and subscribes again after each failure.
    pub(super) async fn run(self, part: Part) {
        if let Some(claims) = &self.consumer.claims {
            return self.take_rows(claims, part).await;
        }
        let mut retry = Retry::shown("taking demands", part);
        while !self.stop.is_cancelled() {
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
                retry.wait(&error, self.stop).await;
            }
        }
    }

    async fn take(&self, mut subscription: Box<dyn Subscription>) -> broker::Result<()> {
        loop {
            let (deliveries, _turn) = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                next = self.next_batch(&mut *subscription) => next?,
            };
            for group in isolation::delivery_groups(deliveries) {
                self.process(group, &mut *subscription).await?;
                if self.stop.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }

    /// Waits for one free place, then takes the demands that are there, at most as many as there are free places. A batch
    /// that is not full takes its turn after the other ones that are not, and what comes meanwhile belongs to it. One of
    /// many demands waits for more while they keep coming. So a demand alone waits for nothing, and many are recorded
    /// together.
    async fn next_batch(
        &self,
        subscription: &mut dyn Subscription,
    ) -> broker::Result<(Vec<Delivery>, Option<MutexGuard<'_, ()>>)> {
        drop(self.places.acquire().await);
        let free = self.places.available_permits().max(1);
        let mut deliveries = subscription.next_batch(free, Duration::ZERO).await?;
        if deliveries.len() == free {
            return Ok((deliveries, None));
        }
        let end = Instant::now() + self.consumer.settings.batch_wait;
        let turn = timeout_at(end, self.consumer.turn.lock()).await;
        while deliveries.len() < free {
            let more = subscription.next_batch(free - deliveries.len(), Duration::ZERO);
            let more = match deliveries.len() < (free / MANY).max(2) {
                true => more.now_or_never(),
                false => timeout_at(end.min(Instant::now() + GAP), more).await.ok(),
            };
            match more {
                Some(more) => deliveries.extend(more?),
                None => break,
            }
        }
        Ok((deliveries, turn.ok()))
    }

    /// Decodes messages, completes their demands and acknowledges them.
    async fn process(&self, mut deliveries: Vec<Delivery>, subscription: &mut dyn Subscription) -> broker::Result<()> {
        let Batch {
            attempts,
            finished,
            dead,
        } = batch::sort(
            &self.consumer.attempts.kind,
            &deliveries,
            self.consumer.attempts.args_limit,
        );
        if !dead.is_empty() {
            self.consumer.broker.dead_letter(&dead).await?;
            // The acknowledgement frees their share of the prefetch bytes, so their memory is freed before it.
            let finished: HashSet<&u64> = finished.iter().collect();
            deliveries.retain(|delivery| !finished.contains(&delivery.tag));
            drop(dead);
        }
        subscription.acknowledge(&finished).await?;
        let (attempts, finished) = self.insert(attempts, &deliveries).await?;
        subscription.acknowledge(&finished).await?;
        for group in isolation::attempt_groups(attempts) {
            let finished = {
                let _guard = self.consumer.group_lock.acquire(&group).await;
                self.complete_group(group, &deliveries).await?
            };
            subscription.acknowledge(&finished).await?;
            if self.stop.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Inserts rows for the attempts that need one first. Returns the others, and the tags to acknowledge.
    async fn insert(
        &self,
        attempts: Vec<Attempt>,
        deliveries: &[Delivery],
    ) -> broker::Result<(Vec<Attempt>, Vec<u64>)> {
        let Consumer {
            store,
            feed,
            attempts: of_kind,
            ..
        } = self.consumer;
        let (mut others, mut rows) = (Vec::with_capacity(attempts.len()), Vec::new());
        for attempt in attempts {
            match attempt.row(&of_kind.kind) {
                Some(row) => rows.push((attempt, row)),
                None => others.push(attempt),
            }
        }
        let (inserted, rows): (Vec<Attempt>, Vec<NewWork>) = rows.into_iter().unzip();
        let mut group_result = GroupResult::default();
        let results = insertion::insert(store, feed, rows, self.abandon).await;
        for (attempt, result) in inserted.iter().zip(results) {
            group_result.add(attempt, result);
        }
        self.bury_refused(&group_result, deliveries).await?;
        Ok((others, group_result.tags))
    }

    async fn bury_refused(&self, group_result: &GroupResult, deliveries: &[Delivery]) -> broker::Result<()> {
        if group_result.refused.is_empty() {
            return Ok(());
        }
        let dead = group_result.dead_letters(&self.consumer.attempts.kind, deliveries);
        self.consumer.broker.dead_letter(&dead).await
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
        self.bury_refused(&group_result, deliveries).await?;
        Ok(group_result.tags)
    }

    /// Computes attempts and records their outcomes. Returns attempts at pending rows that were superseded.
    pub(super) async fn record(&self, attempts: Vec<Attempt>, group_result: &mut GroupResult) -> Vec<Attempt> {
        let progress = self.consumer.run_all(&attempts).await;
        let (mut unrecorded, mut completions, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (attempt, progress) in attempts.into_iter().zip(progress) {
            let outcome = match &progress {
                Progress::Ended(outcome) => outcome.clone(),
                Progress::Slow(_) => self.consumer.running(),
                Progress::Left => {
                    group_result.finished(&attempt);
                    left.push(attempt);
                    continue;
                }
            };
            match (progress, attempt.guard) {
                // Its row is already recorded as `running`.
                (Progress::Slow(task), guard) if guard.is_running() => {
                    group_result.finished(&attempt);
                    self.hand_over(attempt, task).await;
                }
                (progress, _) => {
                    completions.push(attempt.completion(outcome));
                    unrecorded.push((attempt, progress));
                }
            }
        }
        leave(&self.consumer.store, &self.consumer.attempts, &left, self.abandon).await;
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
                        task.handle.abort();
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
        let mut results = Vec::with_capacity(attempts.len());
        // The answer has the arguments of the rows, which most often are those of the messages.
        for part in parts(&attempts, attempts.len(), PART_BYTES, Attempt::bytes) {
            let announcement = |attempt: &Attempt| attempt.announcement(self.consumer.running());
            let mut completions: Vec<Completion> = part.iter().map(announcement).collect();
            results.append(&mut self.complete(&mut completions).await);
        }
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
        complete(store, feed, attempts, completions, self.abandon).await
    }

    /// Hands a work recorded as `running` over to the task that tracks such works.
    async fn hand_over(&self, attempt: Attempt, task: Task) {
        let place = place(&self.places).await;
        let _ = self.slow.send(SlowAttempt { attempt, task, place }).await;
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
