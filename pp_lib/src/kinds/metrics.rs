//! The metrics of attempts that ended, whoever did them.

use crate::domain::KindName;
use crate::runtime::{Counter, Metric, kind_label};
use crate::store::Outcome;

const ATTEMPTS: Metric = Metric::counting(
    "pp_attempts_total",
    &["kind", "outcome"],
    "Attempts that ended and were recorded: done, retry, snoozed, failed or cancelled.",
);
const FINISHED: Metric = Metric::counting(
    "pp_works_finished_total",
    &["kind", "outcome"],
    "Works that this process recorded as finished: done, failed or cancelled.",
);

pub(crate) const ALL: [Metric; 2] = [ATTEMPTS, FINISHED];

const DONE: usize = 0;
const FAILED: usize = 1;
const CANCELLED: usize = 2;
const RETRY: usize = 3;
const SNOOZED: usize = 4;
const OUTCOMES: [&str; 5] = ["done", "failed", "cancelled", "retry", "snoozed"];
/// The outcomes that finish a work are the first ones.
const FINISHING: usize = 3;

/// The handles of one kind.
pub(crate) struct EndMeter {
    attempts: [Counter; OUTCOMES.len()],
    finished: [Counter; FINISHING],
}

impl EndMeter {
    pub(crate) fn new(kind: &KindName) -> Self {
        let kind = kind_label(kind);
        Self {
            attempts: OUTCOMES.map(|outcome| ATTEMPTS.counter(&[&kind, outcome])),
            finished: [DONE, FAILED, CANCELLED].map(|outcome| FINISHED.counter(&[&kind, OUTCOMES[outcome]])),
        }
    }

    /// Notes outcomes that took effect.
    pub(crate) fn ended<'a>(&self, outcomes: impl Iterator<Item = &'a Outcome>) {
        let mut counts = [0; OUTCOMES.len()];
        for place in outcomes.filter_map(place) {
            counts[place] += 1;
        }
        for (counter, count) in self.attempts.iter().zip(counts).chain(self.finished.iter().zip(counts)) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }
}

fn place(outcome: &Outcome) -> Option<usize> {
    match outcome {
        Outcome::Running { .. } => None,
        Outcome::Done { .. } => Some(DONE),
        Outcome::Failed { .. } => Some(FAILED),
        Outcome::Cancelled { .. } => Some(CANCELLED),
        Outcome::Retry { .. } => Some(RETRY),
        Outcome::Snoozed { .. } => Some(SNOOZED),
    }
}
