//! The drainer, which moves dead letters from their queue into the table that operators read.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::{self, AnyBroker, DeadLetter, Delivery, Prefetch, Queue, Subscription};
use crate::domain::{MessageId, PART_BYTES, fitting};
use crate::runtime::{Part, Retry, new_message_id};
use crate::store::{AnyStore, DeadMessage};

/// The maximum number of letters held at once.
const BATCH: u16 = 20;
/// The time a batch waits for more letters after its first.
const WAIT: Duration = Duration::from_millis(20);
/// The reason of a letter without one.
const NO_REASON: &str = "no reason was given";

/// Moves dead letters from the broker to the store.
pub struct DeadLetterDrainer {
    store: AnyStore,
    broker: AnyBroker,
    prefetch: Prefetch,
}

impl DeadLetterDrainer {
    /// A drainer that holds letters of at most this many bytes, or a single larger one. Several drainers may run side
    /// by side.
    pub fn new(store: AnyStore, broker: AnyBroker, bytes: usize) -> Self {
        let prefetch = Prefetch { messages: BATCH, bytes };
        Self {
            store,
            broker,
            prefetch,
        }
    }

    /// Drains until `shutdown` is cancelled. `part` shows its health.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let mut retry = Retry::shown("keeping dead letters", part);
        while !shutdown.is_cancelled() {
            let error = match self.broker.subscribe(&Queue::DeadLetter, self.prefetch).await {
                Ok(subscription) => {
                    retry.recovered();
                    self.drain(subscription, &shutdown).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = error {
                retry.wait(&error, &shutdown).await;
            }
        }
    }

    async fn drain(&self, mut subscription: Box<dyn Subscription>, shutdown: &CancellationToken) -> broker::Result<()> {
        loop {
            let next = subscription.next_batch(BATCH.into(), WAIT);
            let Some(letters) = shutdown.run_until_cancelled(next).await else {
                return Ok(());
            };
            let mut letters = letters?;
            while !letters.is_empty() {
                let rest = letters.split_off(fitting(&letters, letters.len(), PART_BYTES, |letter| letter.body.len()));
                if !self.keep(&letters, shutdown).await {
                    return Ok(());
                }
                let tags: Vec<u64> = letters.iter().map(|letter| letter.tag).collect();
                letters = rest;
                subscription.acknowledge(&tags).await?;
            }
        }
    }

    /// Stores letters and retries while the store is away. Answers `false` if the stop came first.
    async fn keep(&self, letters: &[Delivery], shutdown: &CancellationToken) -> bool {
        let messages: Vec<DeadMessage> = letters.iter().map(message).collect();
        let mut retry = Retry::new("keeping dead letters");
        while let Err(error) = self.store.add_dead_letters(&messages).await {
            if !retry.wait(&error, shutdown).await {
                return false;
            }
        }
        retry.recovered();
        true
    }
}

fn message(letter: &Delivery) -> DeadMessage {
    let (given, kind) = (letter.properties.message_id.clone(), letter.properties.kind.as_deref());
    DeadMessage {
        // A letter put into the queue by hand may have none.
        kind: kind.and_then(|kind| kind.parse().ok()).unwrap_or_default(),
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
