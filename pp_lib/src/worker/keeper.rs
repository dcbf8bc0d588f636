//! Writes the demands that come for kinds whose works are claimed from their rows: each becomes a due row. So such a kind takes
//! messages like any other, and a kind that changes its way leaves none behind.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, AnyBroker, Delivery, Prefetch, Queue, Subscription};
use crate::domain::{KindName, PART_BYTES, fitting};
use crate::feed::AnyFeed;
use crate::kinds::Registry;
use crate::runtime::{Retry, supervise};
use crate::store::{AnyStore, NewWork};
use crate::worker::attempt::Attempt;
use crate::worker::batch::{self, Batch};
use crate::worker::group_result::GroupResult;
use crate::worker::insertion;

/// The maximum number of messages held of a kind.
const BATCH: u16 = 500;
/// The time a batch waits for more messages after its first.
const WAIT: Duration = Duration::from_millis(5);

/// Reads the queues of kinds whose works are claimed from their rows. Several may run side by side.
#[derive(Clone)]
pub struct QueueKeeper {
    /// The store that gets the rows.
    pub store: AnyStore,
    /// The broker with the queues.
    pub broker: AnyBroker,
    /// The feed that announces the rows.
    pub feed: AnyFeed,
    /// The kinds.
    pub kinds: Registry,
    /// The maximum size of a work's arguments in bytes.
    pub args_limit: usize,
    /// The bytes held of all queues.
    pub bytes: usize,
}

impl QueueKeeper {
    /// Reads until `shutdown` is cancelled. Trouble with a queue concerns only that queue, and is logged.
    pub async fn run(self, shutdown: CancellationToken) {
        let token = shutdown.clone();
        supervise("queues of claimed kinds", None, shutdown, (), move |()| {
            self.clone().read_all(token.clone()).boxed()
        })
        .await;
    }

    async fn read_all(self, shutdown: CancellationToken) {
        let mut changes = self.kinds.changes();
        while !shutdown.is_cancelled() {
            changes.mark_unchanged();
            let claimed = self.kinds.claimed();
            let stop = shutdown.child_token();
            let bytes = self.bytes / claimed.len().max(1);
            let reading = claimed.iter().map(|kind| self.read(kind, bytes, &stop));
            let watching = async {
                while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
                    if self.kinds.claimed() != claimed {
                        break;
                    }
                }
                stop.cancel();
            };
            tokio::join!(join_all(reading), watching);
        }
    }

    async fn read(&self, kind: &KindName, bytes: usize, stop: &CancellationToken) {
        let (queue, prefetch) = (Queue::Demand(kind.clone()), Prefetch { messages: BATCH, bytes });
        let mut retry = Retry::new("reading the queue of a kind whose works are claimed");
        while !stop.is_cancelled() {
            let read = match self.broker.subscribe(&queue, prefetch).await {
                Ok(subscription) => {
                    retry.recovered();
                    self.take(kind, subscription, stop).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                retry.wait(&error, stop).await;
            }
        }
    }

    async fn take(
        &self,
        kind: &KindName,
        mut subscription: Box<dyn Subscription>,
        stop: &CancellationToken,
    ) -> broker::Result<()> {
        loop {
            let next = subscription.next_batch(BATCH.into(), WAIT);
            let Some(deliveries) = stop.run_until_cancelled(next).await else {
                return Ok(());
            };
            let mut deliveries = deliveries?;
            while !deliveries.is_empty() {
                let count = fitting(&deliveries, deliveries.len(), PART_BYTES, |one| one.body.len());
                let rest = deliveries.split_off(count);
                let finished = self.write(kind, &deliveries, stop).await?;
                deliveries = rest;
                subscription.acknowledge(&finished).await?;
            }
        }
    }

    /// Writes rows. A message that names a row asks for nothing more: the row is due. Returns the tags to acknowledge.
    async fn write(
        &self,
        kind: &KindName,
        deliveries: &[Delivery],
        stop: &CancellationToken,
    ) -> broker::Result<Vec<u64>> {
        let Batch {
            attempts,
            finished,
            dead,
        } = batch::sort(kind, deliveries, self.args_limit);
        if !dead.is_empty() {
            self.broker.dead_letter(&dead).await?;
        }
        let (mut result, mut new): (GroupResult, Vec<(Attempt, NewWork)>) = (GroupResult::default(), Vec::new());
        for attempt in attempts {
            match attempt.new_row(kind) {
                Some(row) => new.push((attempt, row)),
                None => result.finished(&attempt),
            }
        }
        let (attempts, rows): (Vec<Attempt>, Vec<NewWork>) = new.into_iter().unzip();
        let inserted = insertion::insert(&self.store, &self.feed, rows, stop).await;
        for (attempt, inserted) in attempts.iter().zip(inserted) {
            result.add(attempt, inserted);
        }
        if !result.refused.is_empty() {
            self.broker.dead_letter(&result.dead_letters(kind, deliveries)).await?;
        }
        let all: HashSet<u64> = finished.into_iter().chain(result.tags).collect();
        let mut all: Vec<u64> = all.into_iter().collect();
        all.sort_unstable();
        Ok(all)
    }
}
