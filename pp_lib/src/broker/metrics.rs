//! The metrics of the broker's adapters.

use super::{Published, Queue};
use crate::domain::KindName;
use crate::runtime::{Gauge, Metric, OTHER, kind_label};

const PUBLISHED: Metric = Metric::counting(
    "pp_published_total",
    &["kind", "outcome"],
    "Demands offered to the broker: confirmed, returned because there was no queue, or unconfirmed.",
);
const HELD_MESSAGES: Metric = Metric::gauging(
    "pp_broker_held_messages",
    &["kind"],
    "Messages that were received and not acknowledged yet, dead letters with kind `other`.",
);
const HELD_BYTES: Metric = Metric::gauging("pp_broker_held_bytes", &["kind"], "The size of these messages.");

pub(crate) const ALL: [Metric; 3] = [PUBLISHED, HELD_MESSAGES, HELD_BYTES];

/// Notes the outcomes of a call; passes them on.
pub(super) fn published(kind: &KindName, outcomes: Vec<Published>) -> Vec<Published> {
    let kind = kind_label(kind);
    for (name, outcome) in [
        ("confirmed", Published::Confirmed),
        ("returned", Published::Returned),
        ("unconfirmed", Published::Unconfirmed),
    ] {
        let count = outcomes.iter().filter(|one| **one == outcome).count();
        if count > 0 {
            PUBLISHED.counter(&[&kind, name]).increment(count as u64);
        }
    }
    outcomes
}

/// What a subscription holds, as part of what all hold.
pub(super) struct Held {
    messages: Gauge,
    bytes: Gauge,
    shown: (usize, usize),
}

impl Held {
    pub(super) fn new(queue: &Queue) -> Self {
        let kind = match queue {
            Queue::Demand(kind) => kind_label(kind),
            Queue::DeadLetter | Queue::NamedDeadLetter(_) => OTHER.to_owned(),
        };
        Self {
            messages: HELD_MESSAGES.gauge(&[&kind]),
            bytes: HELD_BYTES.gauge(&[&kind]),
            shown: (0, 0),
        }
    }

    /// Shows what is held now. Call it once for each batch.
    pub(super) fn show(&mut self, messages: usize, bytes: usize) {
        let change = |now: usize, before: usize| now as f64 - before as f64;
        if (messages, bytes) != self.shown {
            self.messages.increment(change(messages, self.shown.0));
            self.bytes.increment(change(bytes, self.shown.1));
            self.shown = (messages, bytes);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.show(0, 0);
    }
}
