//! The drainer, which moves dead letters from their queues into the table that operators read.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, AnyBroker, DeadLetter, Delivery, Prefetch, Queue, Subscription};
use crate::domain::{KindName, MessageId, PART_BYTES, fitting};
use crate::runtime::{Part, Retry, new_message_id};
use crate::store::{AnyStore, DeadMessage, dead_messages};

/// The maximum number of letters held at once.
const BATCH: u16 = 20;
/// The time a batch waits for more letters after its first.
const WAIT: Duration = Duration::from_millis(20);
/// The interval of looks at which queues of dead letters there are.
const INTERVAL: Duration = Duration::from_secs(1);
/// The reason of a letter without one.
const NO_REASON: &str = "no reason was given";

/// Moves dead letters from the broker to the store.
pub struct DeadLetterDrainer {
    store: AnyStore,
    broker: AnyBroker,
    /// The bytes held of all queues.
    bytes: usize,
}

impl DeadLetterDrainer {
    /// A drainer that holds letters of at most this many bytes, or a single larger one. Several drainers may run side
    /// by side.
    pub fn new(store: AnyStore, broker: AnyBroker, bytes: usize) -> Self {
        Self { store, broker, bytes }
    }

    /// Drains all queues until `shutdown` is cancelled. `part` shows the health of the common one. Trouble with a queue
    /// that policies name concerns only that queue, and is logged.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let queues = self.broker.dead_letter_queues();
            let stop = shutdown.child_token();
            let share = Prefetch {
                messages: BATCH,
                bytes: self.bytes / queues.len().max(1),
            };
            let draining = queues.iter().map(|(queue, kind)| {
                let retry = match queue {
                    Queue::DeadLetter => Retry::shown("keeping dead letters", part.clone()),
                    _ => Retry::new("keeping the dead letters of a queue that a policy names"),
                };
                self.drain(queue, kind, share, retry, &stop)
            });
            tokio::join!(join_all(draining), self.stop_at_change(&queues, &stop));
        }
    }

    /// Cancels `stop` when there are other queues than these. Ends when it is cancelled.
    async fn stop_at_change(&self, queues: &[(Queue, KindName)], stop: &CancellationToken) {
        while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
            if self.broker.dead_letter_queues() != queues {
                stop.cancel();
            }
        }
    }

    /// Drains one queue, and subscribes again after each failure.
    async fn drain(
        &self,
        queue: &Queue,
        kind: &KindName,
        prefetch: Prefetch,
        mut retry: Retry,
        stop: &CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let error = match self.broker.subscribe(queue, prefetch).await {
                Ok(subscription) => {
                    retry.recovered();
                    self.take(subscription, kind, stop).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = error {
                retry.wait(&error, stop).await;
            }
        }
    }

    async fn take(
        &self,
        mut subscription: Box<dyn Subscription>,
        kind: &KindName,
        shutdown: &CancellationToken,
    ) -> broker::Result<()> {
        loop {
            let next = subscription.next_batch(BATCH.into(), WAIT);
            let Some(letters) = shutdown.run_until_cancelled(next).await else {
                return Ok(());
            };
            let mut letters = letters?;
            while !letters.is_empty() {
                let rest = letters.split_off(fitting(&letters, letters.len(), PART_BYTES, |letter| letter.body.len()));
                if !self.keep(&letters, kind, shutdown).await {
                    return Ok(());
                }
                let tags: Vec<u64> = letters.iter().map(|letter| letter.tag).collect();
                letters = rest;
                subscription.acknowledge(&tags).await?;
            }
        }
    }

    /// Stores letters and retries while the store is away. Answers `false` if the stop came first.
    async fn keep(&self, letters: &[Delivery], kind: &KindName, shutdown: &CancellationToken) -> bool {
        let messages: Vec<DeadMessage> = letters.iter().map(|letter| message(letter, kind)).collect();
        let mut retry = Retry::new("keeping dead letters");
        while let Err(error) = self.store.add_dead_letters(&messages).await {
            if !retry.wait(&error, shutdown).await {
                return false;
            }
        }
        retry.recovered();
        dead_messages(messages.len());
        true
    }
}

fn message(letter: &Delivery, usual: &KindName) -> DeadMessage {
    let (given, kind) = (letter.properties.message_id.clone(), letter.properties.kind.as_deref());
    DeadMessage {
        // A letter put into the queue by hand, or by the broker, may have none.
        kind: kind.and_then(|kind| kind.parse().ok()).unwrap_or_else(|| usual.clone()),
        message_id: given
            .and_then(|id| MessageId::try_from(id).ok())
            .unwrap_or_else(new_message_id),
        properties: letter.properties.kept.whole().cloned(),
        body: letter.body.clone(),
        reason: reason(letter).to_owned(),
    }
}

/// The reason of a letter. A letter put into the queue by hand may have none, or one that is too long to list.
fn reason(letter: &Delivery) -> &str {
    let given = letter.properties.reason.as_deref().unwrap_or(NO_REASON);
    &given[..given.floor_char_boundary(DeadLetter::MAX_REASON_LENGTH)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut() {
        let letter = |reason: Option<&str>| Delivery {
            tag: 1,
            delivery_count: 0,
            properties: crate::broker::Properties {
                reason: reason.map(str::to_owned),
                ..crate::broker::Properties::default()
            },
            body: bytes::Bytes::new(),
        };
        assert_eq!(reason(&letter(None)), NO_REASON);
        assert_eq!(reason(&letter(Some("no JSON"))), "no JSON");
        assert_eq!(reason(&letter(Some(&"é".repeat(5_000)))), "é".repeat(512));
    }
}
