//! The worker: takes demands in batches, computes, records a whole batch in one change, then acknowledges.
//!
//! Until its row says otherwise a demand belongs to its message: what is not acknowledged comes again. From the commit
//! on it belongs to its row. So a batch is acknowledged after its commit, and every repetition finds its row finished.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, AnyBroker, DeadLetter, Delivery, Prefetch, Queue, Subscription};
use crate::domain::{Computation, ComputeError};
use crate::feed::AnyFeed;
use crate::log_repeated;
use crate::runtime::Part;
use crate::runtime::Retry;
use crate::store::{AnyStore, Completion, Outcome};
use crate::worker::attempt::{Attempt, Attempts};
use crate::worker::batch::{self, Batch};
use crate::worker::completion::{Ending, complete};
use crate::worker::decoding;
use crate::worker::isolation;
use crate::worker::running::{Running, Slow};

/// How long a batch waits for computations that do not end at once, before their works are recorded as `running`.
const MOMENT: Duration = Duration::from_millis(20);

/// How many batches are under way at once: while the store records one, the next is received and computed.
const LANES: u16 = 2;

/// How a worker takes and computes demands.
#[derive(Clone, Debug)]
pub struct ConsumeSettings {
    /// How many messages may be with this worker, unacknowledged.
    pub prefetch: u16,
    /// How many bytes these messages may have together. Each lane has its share, and may exceed it by a single message.
    pub prefetch_bytes: usize,
    /// How many demands are computed at once; half of them are recorded together.
    pub batch: u16,
    /// How long a batch waits for more messages once it has one.
    pub batch_wait: Duration,
    /// How often a work may fail before it is given up.
    pub max_attempts: i32,
    /// How long this worker may be silent about a running work before another takes it.
    pub lease: Duration,
    /// How long one computation may take.
    pub work_timeout: Duration,
    /// How long a stop waits for what is under way.
    pub grace: Duration,
}

/// The share of a worker that takes one batch after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lane {
    prefetch: Prefetch,
    batch: u16,
}

impl ConsumeSettings {
    /// The lanes, with their shares of what there may be at once.
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

/// A worker.
pub struct Consumer {
    store: AnyStore,
    broker: AnyBroker,
    feed: AnyFeed,
    attempts: Attempts,
    settings: ConsumeSettings,
    turns: Turns,
}

/// Whose turn it is: groups of demands that come for the first time go beside each other, what may have ended a worker
/// goes alone.
#[derive(Debug, Default)]
struct Turns(RwLock<()>);

/// The turn of a group, until it is dropped.
enum Turn<'a> {
    Beside { _others: RwLockReadGuard<'a, ()> },
    Alone { _nobody: RwLockWriteGuard<'a, ()> },
}

impl Turns {
    async fn for_group(&self, group: &[Attempt]) -> Turn<'_> {
        match isolation::is_alone(group) {
            true => Turn::Alone {
                _nobody: self.0.write().await,
            },
            false => Turn::Beside {
                _others: self.0.read().await,
            },
        }
    }
}

/// What an attempt has come to within its batch.
enum Progress {
    Ended(Outcome),
    Slow(JoinHandle<Result<i64, ComputeError>>),
}

impl Consumer {
    /// A worker that computes with `computation`, and tells the feed of what it recorded.
    pub fn new(
        store: AnyStore,
        broker: AnyBroker,
        feed: AnyFeed,
        computation: Arc<dyn Computation>,
        settings: ConsumeSettings,
    ) -> Self {
        let (max_attempts, work_timeout) = (settings.max_attempts, settings.work_timeout);
        Self {
            store,
            broker,
            feed,
            attempts: Attempts {
                computation,
                max_attempts,
                work_timeout,
            },
            settings,
            turns: Turns::default(),
        }
    }

    /// Works until `shutdown` is cancelled; then finishes what is under way, or hands it back after the grace period.
    /// `part` shows whether it can.
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
        let lanes = lanes.map(|lane| self.subscribe(lane, part.clone(), &shutdown, &abandon, slow.clone()));
        join_all(lanes).await;
        drop(slow);
        if let Err(error) = running.await {
            log::error!("looking after running works ended: {error}");
        }
    }

    /// One lane: takes batches from one subscription after the other.
    async fn subscribe(
        &self,
        lane: Lane,
        part: Part,
        shutdown: &CancellationToken,
        abandon: &CancellationToken,
        slow: mpsc::Sender<Slow>,
    ) {
        let places = Arc::new(Semaphore::new(usize::from(lane.batch)));
        let mut patience = Retry::shown("taking demands", part);
        while !shutdown.is_cancelled() {
            let error = match self.broker.subscribe(Queue::Demand, lane.prefetch).await {
                Ok(subscription) => {
                    patience.recovered();
                    self.take(subscription, &places, shutdown, abandon, &slow).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = error {
                patience.wait(&error, shutdown).await;
            }
        }
    }

    async fn take(
        &self,
        mut subscription: Box<dyn Subscription>,
        places: &Arc<Semaphore>,
        shutdown: &CancellationToken,
        abandon: &CancellationToken,
        slow: &mpsc::Sender<Slow>,
    ) -> broker::Result<()> {
        loop {
            let next = async {
                // At least one free place, then as many demands as there are places.
                drop(places.acquire().await);
                let free = places.available_permits().max(1);
                subscription.next_batch(free, self.settings.batch_wait).await
            };
            let deliveries = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                deliveries = next => deliveries?,
            };
            for helping in isolation::helpings(deliveries) {
                self.help(helping, &mut *subscription, places, shutdown, abandon, slow)
                    .await?;
                if shutdown.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }

    /// Reads messages, works off what they demand and acknowledges them.
    async fn help(
        &self,
        mut deliveries: Vec<Delivery>,
        subscription: &mut dyn Subscription,
        places: &Arc<Semaphore>,
        shutdown: &CancellationToken,
        abandon: &CancellationToken,
        slow: &mpsc::Sender<Slow>,
    ) -> broker::Result<()> {
        let Batch {
            attempts,
            finished,
            dead,
        } = batch::sort(&self.store, &deliveries, abandon).await;
        if !dead.is_empty() {
            self.broker.dead_letter(&dead).await?;
            // With the acknowledgement others take their room: they must not be held any longer.
            let finished: HashSet<&u64> = finished.iter().collect();
            deliveries.retain(|delivery| !finished.contains(&delivery.tag));
            drop(dead);
        }
        subscription.acknowledge(&finished).await?;
        for group in isolation::groups(attempts) {
            let finished = {
                let _turn = self.turns.for_group(&group).await;
                self.work_off(group, &deliveries, places, abandon, slow).await?
            };
            subscription.acknowledge(&finished).await?;
            if shutdown.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Works off a group; the tags of what is finished with, as far as this worker is concerned.
    async fn work_off(
        &self,
        group: Vec<Attempt>,
        deliveries: &[Delivery],
        places: &Arc<Semaphore>,
        abandon: &CancellationToken,
        slow: &mpsc::Sender<Slow>,
    ) -> broker::Result<Vec<u64>> {
        let mut ends = Ends::default();
        let announced = isolation::is_announced(&group);
        let attempts = match announced {
            true => self.announce(group, abandon, &mut ends).await,
            false => group,
        };
        let progress = self.compute(&attempts).await;
        let (mut unrecorded, mut completions) = (Vec::new(), Vec::new());
        for (attempt, progress) in attempts.into_iter().zip(progress) {
            match progress {
                // Its row says already that it is running.
                Progress::Slow(task) if announced => {
                    ends.finished(&attempt);
                    hand_over(attempt, task, places, slow).await;
                }
                progress => {
                    completions.push(attempt.completion(self.outcome(&progress)));
                    unrecorded.push((attempt, progress));
                }
            }
        }
        let endings = complete(&self.store, &self.feed, &mut completions, abandon).await;
        for (((attempt, progress), ending), completion) in unrecorded.into_iter().zip(endings).zip(&completions) {
            let goes_on = ending == Ending::Applied && is_running(completion);
            ends.add(&attempt, ending);
            match progress {
                Progress::Slow(task) if goes_on => hand_over(attempt, task, places, slow).await,
                Progress::Slow(task) => task.abort(),
                Progress::Ended(_) => {}
            }
        }
        if !ends.refused.is_empty() {
            let dead: Vec<DeadLetter> = ends.dead_letters(deliveries);
            self.broker.dead_letter(&dead).await?;
        }
        Ok(ends.tags)
    }

    /// Records that the attempts are running, before they are; those that go on.
    async fn announce(&self, attempts: Vec<Attempt>, abandon: &CancellationToken, ends: &mut Ends) -> Vec<Attempt> {
        let running = Outcome::Running {
            lease: self.settings.lease,
        };
        let mut completions: Vec<Completion> = attempts
            .iter()
            .map(|attempt| attempt.completion(running.clone()))
            .collect();
        let endings = complete(&self.store, &self.feed, &mut completions, abandon).await;
        let mut going_on = Vec::new();
        for ((attempt, ending), completion) in attempts.into_iter().zip(endings).zip(&completions) {
            if ending == Ending::Applied && is_running(completion) {
                going_on.push(attempt.running());
            } else {
                ends.add(&attempt, ending);
            }
        }
        going_on
    }

    fn outcome(&self, progress: &Progress) -> Outcome {
        match progress {
            Progress::Ended(outcome) => outcome.clone(),
            Progress::Slow(_) => Outcome::Running {
                lease: self.settings.lease,
            },
        }
    }

    /// Starts all attempts at once. What ends at once or within a moment has an outcome; the rest goes on in tasks.
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
        let moment = tokio::time::Instant::now() + MOMENT;
        let waits = progress.iter_mut().filter_map(|progress| match progress {
            Progress::Slow(task) => Some(tokio::time::timeout_at(moment, task)),
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

fn is_running(completion: &Completion) -> bool {
    matches!(completion.outcome, Outcome::Running { .. })
}

/// Leaves a work that its row calls running to the one who looks after those.
async fn hand_over(
    attempt: Attempt,
    task: JoinHandle<Result<i64, ComputeError>>,
    places: &Arc<Semaphore>,
    slow: &mpsc::Sender<Slow>,
) {
    let (attempt, place) = (attempt.running(), place(places).await);
    let _ = slow.send(Slow { attempt, task, place }).await;
}

/// What the deliveries of a group have come to.
#[derive(Default)]
struct Ends {
    tags: Vec<u64>,
    /// Deliveries that the store wants in no form, and why.
    refused: Vec<(Vec<u64>, String)>,
}

impl Ends {
    fn add(&mut self, attempt: &Attempt, ending: Ending) {
        match ending {
            // It comes again.
            Ending::Abandoned => {}
            Ending::Applied | Ending::Superseded => self.finished(attempt),
            Ending::Refused(reason) => {
                log_repeated!(Error, "a demand is a dead letter", "{reason}");
                self.refused.push((attempt.tags.clone(), reason));
                self.finished(attempt);
            }
        }
    }

    fn finished(&mut self, attempt: &Attempt) {
        self.tags.extend(&attempt.tags);
    }

    fn dead_letters(&self, deliveries: &[Delivery]) -> Vec<DeadLetter> {
        let of_tag = |tag: &u64| deliveries.iter().find(|delivery| delivery.tag == *tag);
        let letters = self.refused.iter().flat_map(|(tags, reason)| {
            tags.iter()
                .filter_map(of_tag)
                .map(|delivery| decoding::dead_letter(delivery, reason))
        });
        letters.collect()
    }
}

/// The place of a work that turned out slow; there is one, since a batch is never larger than what was free.
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
    fn lanes_share_all_there_is_and_each_has_something() {
        assert_eq!(shares(2000, 1000), [(1000, 500), (1000, 500)]);
        assert_eq!(shares(7, 3), [(4, 2), (3, 1)]);
        assert_eq!(shares(2, 1), [(2, 1)]);
        assert_eq!(shares(1, 1000), [(1, 1000)]);
    }

    #[tokio::test]
    async fn what_came_again_has_its_turn_alone() {
        let [new, again] = [0, 1].map(|delivery_count| {
            let (id, code) = (new_message_id(), new_work_code(Origin::Consumer));
            let mut attempt = Attempt::at_new_work(id, AddUpTo::MIN, code);
            attempt.delivery_count = delivery_count;
            vec![attempt]
        });
        let turns = Turns::default();
        let beside_each_other = (turns.for_group(&new).await, turns.for_group(&new).await);
        assert!(turns.for_group(&again).now_or_never().is_none());
        drop(beside_each_other);
        let alone = turns.for_group(&again).await;
        assert!(turns.for_group(&new).now_or_never().is_none());
        assert!(turns.for_group(&again).now_or_never().is_none());
        drop(alone);
        assert!(turns.for_group(&new).now_or_never().is_some());
    }
}
