//! From a batch of deliveries to the jobs that are in it: one for each identity, however often it came.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio_util::sync::CancellationToken;

use crate::broker::{DeadLetter, Delivery};
use crate::domain::{Demand, DemandedRow, MessageId, Origin, WorkCode};
use crate::log_repeated;
use crate::runtime::{Retry, new_work_code};
use crate::store::{AnyStore, Claim, StoreError};
use crate::worker::attempt::Attempt;
use crate::worker::decoding::{self, Intake};

/// An attempt and the deliveries that wait for it; more than one when a demand came twice.
pub(super) struct Job {
    pub(super) attempt: Attempt,
    pub(super) tags: Vec<u64>,
    /// How often one of them was delivered before.
    pub(super) delivery_count: u32,
}

impl Job {
    /// How many workers were gone before they were finished with it, as far as the broker or the row knows.
    pub(super) fn times_lost(&self) -> usize {
        let delivered = usize::try_from(self.delivery_count).unwrap_or(usize::MAX);
        delivered.max(self.attempt.lost_leases())
    }
}

/// What a batch of deliveries turned out to be.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) jobs: Vec<Job>,
    /// Deliveries of dead letters, and of demands whose row wants nothing.
    pub(super) finished: Vec<u64>,
    pub(super) dead: Vec<DeadLetter>,
}

/// Sorts a batch; what must be looked up in the store first is left out when `abandon` comes before the answer.
pub(super) async fn sort(store: &AnyStore, deliveries: &[Delivery], abandon: &CancellationToken) -> Sorted {
    let mut sorted = Sorted::default();
    let mut jobs: HashMap<MessageId, Job> = HashMap::with_capacity(deliveries.len());
    let mut unresolved: Vec<(WorkCode, &Delivery)> = Vec::new();
    for delivery in deliveries {
        match decoding::read(delivery) {
            Intake::Demand(demand) => add(&mut jobs, demand, delivery),
            Intake::Unresolved(work_code) => unresolved.push((work_code, delivery)),
            Intake::Dead(letter) => {
                log_repeated!(Warn, "a message is a dead letter", "{}", letter.reason);
                sorted.dead.push(letter);
                sorted.finished.push(delivery.tag);
            }
        }
    }
    if !unresolved.is_empty() {
        let codes: Vec<WorkCode> = unresolved.iter().map(|(code, _)| code.clone()).collect();
        if let Some(rows) = resolve(store, &codes, abandon).await {
            for (work_code, delivery) in unresolved {
                match rows.get(&work_code) {
                    Some(demand) => add(&mut jobs, demand.clone(), delivery),
                    None => sorted.finished.push(delivery.tag),
                }
            }
        }
    }
    sorted.jobs = jobs.into_values().collect();
    sorted
}

fn add(jobs: &mut HashMap<MessageId, Job>, demand: Demand, delivery: &Delivery) {
    let attempt = Attempt::new(demand, || new_work_code(Origin::Consumer));
    match jobs.entry(attempt.message_id.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(Job {
                attempt,
                tags: vec![delivery.tag],
                delivery_count: delivery.delivery_count,
            });
        }
        Entry::Occupied(mut entry) => {
            let job = entry.get_mut();
            // The row can only be at the newest of the states that its demands name.
            if attempt.is_newer_than(&job.attempt) {
                job.attempt = attempt;
            }
            job.tags.push(delivery.tag);
            job.delivery_count = job.delivery_count.max(delivery.delivery_count);
        }
    }
}

/// The demands of rows that were named without their state; `None` when the program is to stop before that is known.
async fn resolve(
    store: &AnyStore,
    codes: &[WorkCode],
    abandon: &CancellationToken,
) -> Option<HashMap<WorkCode, Demand>> {
    let mut patience = Retry::new("looking up demanded works");
    loop {
        match store.pending(codes).await {
            Ok(rows) => {
                return Some(
                    rows.into_iter()
                        .map(|row| (row.work_code.clone(), demand(row)))
                        .collect(),
                );
            }
            Err(StoreError::Outdated(_)) => return None,
            Err(error) if !patience.wait(&error, abandon).await => return None,
            Err(_) => {}
        }
    }
}

fn demand(row: Claim) -> Demand {
    Demand {
        message_id: row.message_id,
        add_up_to: row.add_up_to,
        row: Some(DemandedRow {
            work_code: row.work_code,
            run: row.run,
            failures: row.failures,
            lost_leases: row.lost_leases,
        }),
        new_work_code: None,
    }
}
