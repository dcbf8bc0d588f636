//! Sorts a batch of deliveries into attempts, finished deliveries and dead letters.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::broker::{DeadLetter, Delivery};
use crate::domain::{KindName, MessageId};
use crate::log_repeated;
use crate::worker::attempt::Attempt;
use crate::worker::decoding;

#[derive(Default)]
pub(super) struct Batch {
    pub(super) attempts: Vec<Attempt>,
    /// Deliveries that need no attempt: those of dead letters.
    pub(super) finished: Vec<u64>,
    pub(super) dead: Vec<DeadLetter>,
}

/// Sorts a batch. Arguments of new works may have at most `limit` bytes.
pub(super) fn sort(kind: &KindName, deliveries: &[Delivery], limit: usize) -> Batch {
    let mut batch = Batch::default();
    let mut attempts: HashMap<MessageId, Attempt> = HashMap::with_capacity(deliveries.len());
    for delivery in deliveries {
        match decoding::decode(kind, delivery, limit) {
            Ok(attempt) => add(&mut attempts, attempt, delivery),
            Err(letter) => {
                log_repeated!(Warn, "a message is a dead letter", "{}", letter.reason);
                batch.dead.push(*letter);
                batch.finished.push(delivery.tag);
            }
        }
    }
    batch.attempts = attempts.into_values().collect();
    batch
}

fn add(attempts: &mut HashMap<MessageId, Attempt>, attempt: Attempt, delivery: &Delivery) {
    let attempt = attempt.delivered(delivery);
    match attempts.entry(attempt.message_id.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(attempt);
        }
        Entry::Occupied(mut entry) => entry.get_mut().join(attempt),
    }
}
