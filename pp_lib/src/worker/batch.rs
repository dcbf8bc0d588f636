//! Sorts a batch of deliveries into attempts, finished deliveries and dead letters.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio_util::sync::CancellationToken;

use crate::broker::{DeadLetter, Delivery};
use crate::domain::{DemandedRow, MessageId, WorkCode};
use crate::log_repeated;
use crate::runtime::Retry;
use crate::store::{AnyStore, Claim, StoreError};
use crate::worker::attempt::Attempt;
use crate::worker::decoding::{self, Decoded};

/// A sorted batch.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) attempts: Vec<Attempt>,
    /// Deliveries that need no attempt: dead letters, and demands whose row is finished or missing.
    pub(super) finished: Vec<u64>,
    pub(super) dead: Vec<DeadLetter>,
}

/// Sorts a batch. Demands that need a look-up in the store are left out if `abandon` is cancelled first.
pub(super) async fn sort(store: &AnyStore, deliveries: &[Delivery], abandon: &CancellationToken) -> Batch {
    let mut batch = Batch::default();
    let mut attempts: HashMap<MessageId, Attempt> = HashMap::with_capacity(deliveries.len());
    let mut unresolved: Vec<(WorkCode, &Delivery)> = Vec::new();
    for delivery in deliveries {
        match decoding::decode(delivery) {
            Decoded::Attempt(attempt) => add(&mut attempts, attempt, delivery),
            Decoded::Unresolved(work_code) => unresolved.push((work_code, delivery)),
            Decoded::Dead(letter) => {
                log_repeated!(Warn, "a message is a dead letter", "{}", letter.reason);
                batch.dead.push(letter);
                batch.finished.push(delivery.tag);
            }
        }
    }
    if !unresolved.is_empty() {
        let codes: Vec<WorkCode> = unresolved.iter().map(|(code, _)| code.clone()).collect();
        if let Some(rows) = resolve(store, &codes, abandon).await {
            for (work_code, delivery) in unresolved {
                match rows.get(&work_code) {
                    Some(attempt) => add(&mut attempts, attempt.clone(), delivery),
                    None => batch.finished.push(delivery.tag),
                }
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

/// Looks up the rows of demands that name no state; `None` if the program stops first.
async fn resolve(
    store: &AnyStore,
    codes: &[WorkCode],
    abandon: &CancellationToken,
) -> Option<HashMap<WorkCode, Attempt>> {
    let mut retry = Retry::new("looking up demanded works");
    loop {
        match store.pending(codes).await {
            Ok(rows) => {
                return Some(
                    rows.into_iter()
                        .map(|row| (row.work_code.clone(), attempt(row)))
                        .collect(),
                );
            }
            Err(StoreError::Outdated(_)) => return None,
            Err(error) if !retry.wait(&error, abandon).await => return None,
            Err(_) => {}
        }
    }
}

fn attempt(row: Claim) -> Attempt {
    let demanded = DemandedRow {
        work_code: row.work_code,
        run: row.run,
        failures: row.failures,
        lost_leases: row.lost_leases,
    };
    Attempt::at_row(row.message_id, row.add_up_to, demanded)
}
