//! The drainer: dead letters leave their queue, which is only transport, for the table where an operator sees them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Patience, new_message_id};
use crate::broker::{self, AnyBroker, Delivery, Queue, Subscription};
use crate::domain::MessageId;
use crate::health::Part;
use crate::store::{AnyStore, DeadMessage};

/// How many letters are moved at once; they may be as large as messages are.
const BATCH: u16 = 20;
/// How long a batch waits for more letters once it has one.
const WAIT: Duration = Duration::from_millis(20);
/// What a letter says that came without a reason, from whoever put it into the queue by hand.
const NO_REASON: &str = "no reason was given";

/// Moves dead letters from the broker to the store.
pub struct Drainer {
    store: AnyStore,
    broker: AnyBroker,
}

impl Drainer {
    /// A drainer; several may work side by side.
    pub fn new(store: AnyStore, broker: AnyBroker) -> Self {
        Self { store, broker }
    }

    /// Drains until `shutdown` is cancelled; `part` shows whether it can.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let mut patience = Patience::shown("keeping dead letters", part);
        while !shutdown.is_cancelled() {
            let error = match self.broker.subscribe(Queue::DeadLetter, BATCH).await {
                Ok(subscription) => {
                    patience.recovered();
                    self.drain(subscription, &shutdown).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = error {
                patience.wait(&error, &shutdown).await;
            }
        }
    }

    async fn drain(&self, mut subscription: Box<dyn Subscription>, shutdown: &CancellationToken) -> broker::Result<()> {
        loop {
            let next = subscription.next_batch(BATCH.into(), WAIT);
            let Some(letters) = shutdown.run_until_cancelled(next).await else {
                return Ok(());
            };
            let letters = letters?;
            if !self.keep(&letters, shutdown).await {
                return Ok(());
            }
            let tags: Vec<u64> = letters.iter().map(|letter| letter.tag).collect();
            subscription.acknowledge(&tags).await?;
        }
    }

    /// Keeps letters, however long the store is away; whether it did before the stop.
    async fn keep(&self, letters: &[Delivery], shutdown: &CancellationToken) -> bool {
        let messages: Vec<DeadMessage> = letters.iter().map(message).collect();
        let mut patience = Patience::new("keeping dead letters");
        while let Err(error) = self.store.bury(&messages).await {
            if !patience.wait(&error, shutdown).await {
                return false;
            }
        }
        patience.recovered();
        true
    }
}

fn message(letter: &Delivery) -> DeadMessage {
    let given = letter.properties.message_id.clone();
    DeadMessage {
        message_id: given
            .and_then(|id| MessageId::try_from(id).ok())
            .unwrap_or_else(new_message_id),
        properties: letter.properties.kept.whole().cloned(),
        body: letter.body.clone(),
        reason: letter.properties.reason.clone().unwrap_or_else(|| NO_REASON.to_owned()),
    }
}
