//! The worker: takes demands in batches, computes, records a whole batch in one change, then acknowledges.
//!
//! Until its row says otherwise a demand belongs to its message: what is not acknowledged comes again. From the commit
//! on it belongs to its row. So a batch is acknowledged after its commit, and every repetition finds its row settled.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Attempts};
use super::intake::{self, Intake};
use super::running::{Running, Slow};
use super::settle::{Fate, settle};
use super::{Patience, new_work_code};
use crate::broker::{self, AnyBroker, DeadLetter, Delivery, Queue, Subscription};
use crate::domain::{Computation, ComputeError, Demand, DemandedRow, MessageId, Origin, WorkCode};
use crate::health::Part;
use crate::store::{AnyStore, Outcome, Settlement};

/// How long a batch waits for computations that do not end at once, before their works are recorded as `running`.
const MOMENT: Duration = Duration::from_millis(20);

/// How a worker takes and computes demands.
#[derive(Clone, Debug)]
pub struct ConsumeSettings {
    /// How many messages may be with this worker, unacknowledged.
    pub prefetch: u16,
    /// How many demands are computed at once, and recorded together.
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

/// A worker.
pub struct Consumer {
    store: AnyStore,
    broker: AnyBroker,
    attempts: Attempts,
    settings: ConsumeSettings,
}

/// An attempt and the deliveries that wait for it; more than one when a demand came twice.
struct Job {
    attempt: Attempt,
    tags: Vec<u64>,
}

/// What an attempt has come to within its batch.
enum Progress {
    Ended(Outcome),
    Slow(JoinHandle<Result<i64, ComputeError>>),
}

impl Consumer {
    /// A worker that computes with `computation`.
    pub fn new(
        store: AnyStore,
        broker: AnyBroker,
        computation: Arc<dyn Computation>,
        settings: ConsumeSettings,
    ) -> Self {
        let (max_attempts, work_timeout) = (settings.max_attempts, settings.work_timeout);
        Self {
            store,
            broker,
            attempts: Attempts {
                computation,
                max_attempts,
                work_timeout,
            },
            settings,
        }
    }

    /// Works until `shutdown` is cancelled; then finishes what is under way, or hands it back after the grace period.
    /// `part` shows whether it can.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let abandon = CancellationToken::new();
        let (slow, incoming) = mpsc::channel(usize::from(self.settings.batch));
        let running = Running {
            store: self.store.clone(),
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
        self.subscribe(part, &shutdown, &abandon, slow).await;
        if let Err(error) = running.await {
            log::error!("looking after running works ended: {error}");
        }
    }

    /// Takes batches from one subscription after the other.
    async fn subscribe(
        &self,
        part: Part,
        shutdown: &CancellationToken,
        abandon: &CancellationToken,
        slow: mpsc::Sender<Slow>,
    ) {
        let places = Arc::new(Semaphore::new(usize::from(self.settings.batch)));
        let mut patience = Patience::shown("taking demands", part);
        while !shutdown.is_cancelled() {
            let error = match self.broker.subscribe(Queue::Demand, self.settings.prefetch).await {
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
            let finished = self.process(deliveries, places, abandon, slow).await?;
            subscription.acknowledge(&finished).await?;
        }
    }

    /// Works off one batch; the tags of what is finished with, as far as this worker is concerned.
    async fn process(
        &self,
        deliveries: Vec<Delivery>,
        places: &Arc<Semaphore>,
        abandon: &CancellationToken,
        slow: &mpsc::Sender<Slow>,
    ) -> broker::Result<Vec<u64>> {
        let (jobs, mut finished, mut dead) = self.sort(&deliveries, abandon).await;
        let progress = self.compute(&jobs).await;
        let mut settlements: Vec<Settlement> = jobs
            .iter()
            .zip(&progress)
            .map(|(job, progress)| job.attempt.settlement(self.outcome(progress)))
            .collect();
        let fates = settle(&self.store, &mut settlements, abandon).await;

        for ((job, progress), fate) in jobs.into_iter().zip(progress).zip(fates) {
            match (&fate, progress) {
                (Fate::Abandoned, Progress::Slow(task)) => {
                    task.abort();
                    continue;
                }
                (Fate::Abandoned, Progress::Ended(_)) => continue,
                (Fate::Applied, Progress::Slow(task)) => {
                    let place = place(places).await;
                    let _ = slow
                        .send(Slow {
                            attempt: job.attempt.running(),
                            task,
                            place,
                        })
                        .await;
                }
                (_, Progress::Slow(task)) => task.abort(),
                (_, Progress::Ended(_)) => {}
            }
            if let Fate::Refused(reason) = fate {
                log::error!("a demand is a dead letter: {reason}");
                let refused = deliveries.iter().filter(|delivery| job.tags.contains(&delivery.tag));
                dead.extend(refused.map(|delivery| intake::dead_letter(delivery, &reason)));
            }
            finished.extend(job.tags);
        }
        if !dead.is_empty() {
            self.broker.dead_letter(&dead).await?;
        }
        finished.sort_unstable();
        Ok(finished)
    }

    fn outcome(&self, progress: &Progress) -> Outcome {
        match progress {
            Progress::Ended(outcome) => outcome.clone(),
            Progress::Slow(_) => Outcome::Running {
                lease: self.settings.lease,
            },
        }
    }

    /// Tells jobs from dead letters; the tags of the latter, and of demands whose row wants nothing, are finished.
    async fn sort(
        &self,
        deliveries: &[Delivery],
        abandon: &CancellationToken,
    ) -> (Vec<Job>, Vec<u64>, Vec<DeadLetter>) {
        let mut jobs: HashMap<MessageId, Job> = HashMap::with_capacity(deliveries.len());
        let (mut finished, mut dead, mut unresolved) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |demand: Demand, tag: u64| {
            let attempt = Attempt::new(demand, || new_work_code(Origin::Consumer));
            match jobs.entry(attempt.message_id.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(Job {
                        attempt,
                        tags: vec![tag],
                    });
                }
                Entry::Occupied(mut entry) => {
                    let job = entry.get_mut();
                    // The row can only be at the newest of the states that its demands name.
                    if attempt.is_newer_than(&job.attempt) {
                        job.attempt = attempt;
                    }
                    job.tags.push(tag);
                }
            }
        };
        for delivery in deliveries {
            match intake::read(delivery) {
                Intake::Demand(demand) => add(demand, delivery.tag),
                Intake::Unresolved(work_code) => unresolved.push((work_code, delivery.tag)),
                Intake::Dead(letter) => {
                    log::warn!("a message is a dead letter: {}", letter.reason);
                    dead.push(letter);
                    finished.push(delivery.tag);
                }
            }
        }
        if !unresolved.is_empty() {
            let Some(mut rows) = self.resolve(&unresolved, abandon).await else {
                return (Vec::new(), finished, dead);
            };
            for (work_code, tag) in unresolved {
                match rows.remove(&work_code) {
                    Some(demand) => add(demand, tag),
                    None => finished.push(tag),
                }
            }
        }
        (jobs.into_values().collect(), finished, dead)
    }

    /// The demands of rows that were named without their state; `None` when the program is to stop before that is known.
    async fn resolve(
        &self,
        unresolved: &[(WorkCode, u64)],
        abandon: &CancellationToken,
    ) -> Option<HashMap<WorkCode, Demand>> {
        let codes: Vec<WorkCode> = unresolved.iter().map(|(code, _)| code.clone()).collect();
        let mut patience = Patience::new("looking up demanded works");
        loop {
            match self.store.pending(&codes).await {
                Ok(rows) => {
                    let demands = rows.into_iter().map(|row| {
                        let work_code = row.work_code.clone();
                        let (generation, attempt, failures) = (row.generation, row.attempt, row.failures);
                        let demanded = DemandedRow {
                            work_code: row.work_code,
                            generation,
                            attempt,
                            failures,
                        };
                        let demand = Demand {
                            message_id: row.message_id,
                            add_up_to: row.add_up_to,
                            row: Some(demanded),
                        };
                        (work_code, demand)
                    });
                    return Some(demands.collect());
                }
                Err(error) if !patience.wait(&error, abandon).await => return None,
                Err(_) => {}
            }
        }
    }

    /// Starts every job at once. What ends at once or within a moment has an outcome; the rest goes on in tasks.
    async fn compute(&self, jobs: &[Job]) -> Vec<Progress> {
        let mut progress: Vec<Progress> = Vec::with_capacity(jobs.len());
        let mut slow = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            let mut computing = self.attempts.start(&job.attempt);
            progress.push(match computing.as_mut().now_or_never() {
                Some(result) => Progress::Ended(self.attempts.judge(&job.attempt, result)),
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
                progress[index] = Progress::Ended(self.attempts.judge(&jobs[index].attempt, result));
            }
        }
        progress
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
