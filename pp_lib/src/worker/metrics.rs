//! The metrics of the worker: attempts, batches and commits. They are recorded for each batch, by handles that a
//! consumer keeps.

use std::time::Duration;

use crate::domain::KindName;
use crate::runtime::{Counter, Gauge, Histogram, Metric, kind_label};
use crate::store::{Completion, Outcome};
use crate::worker::completion::CompletionResult;

const ATTEMPTS: Metric = Metric::counting(
    "pp_attempts_total",
    &["kind", "outcome"],
    "Attempts that ended and were recorded: done, retry, snoozed, failed or cancelled.",
);
const FINISHED: Metric = Metric::counting(
    "pp_works_finished_total",
    &["kind", "outcome"],
    "Works that this worker finished: done, failed or cancelled.",
);
const BATCH: Metric = Metric::distributing(
    "pp_batch_works",
    Metric::SIZES,
    &["kind"],
    "Works whose outcomes were recorded together.",
);
const COMMIT: Metric = Metric::distributing(
    "pp_commit_seconds",
    Metric::SECONDS,
    &["kind"],
    "Time of the store for recording a batch, failed calls included.",
);
const PLACES: Metric = Metric::gauging(
    "pp_worker_places",
    &["kind"],
    "Works of the kind that this worker may compute at once; 0 while the kind is paused.",
);

pub(crate) const ALL: [Metric; 5] = [ATTEMPTS, FINISHED, BATCH, COMMIT, PLACES];

const DONE: usize = 0;
const FAILED: usize = 1;
const CANCELLED: usize = 2;
const RETRY: usize = 3;
const SNOOZED: usize = 4;
const OUTCOMES: [&str; 5] = ["done", "failed", "cancelled", "retry", "snoozed"];
/// The outcomes that finish a work are the first ones.
const FINISHING: usize = 3;

/// The handles of one kind.
pub(super) struct Meter {
    attempts: [Counter; OUTCOMES.len()],
    finished: [Counter; FINISHING],
    batch: Histogram,
    commit: Histogram,
    places: Gauge,
}

impl Meter {
    pub(super) fn new(kind: &KindName) -> Self {
        let kind = kind_label(kind);
        Self {
            attempts: OUTCOMES.map(|outcome| ATTEMPTS.counter(&[&kind, outcome])),
            finished: [DONE, FAILED, CANCELLED].map(|outcome| FINISHED.counter(&[&kind, OUTCOMES[outcome]])),
            batch: BATCH.histogram(&[&kind]),
            commit: COMMIT.histogram(&[&kind]),
            places: PLACES.gauge(&[&kind]),
        }
    }

    pub(super) fn places(&self, places: u16) {
        self.places.set(places);
    }

    /// Notes a call of the store.
    pub(super) fn committed(&self, works: usize, after: Duration) {
        self.batch.record(works as f64);
        self.commit.record(after);
    }

    /// Notes the outcomes that took effect.
    pub(super) fn ended(&self, completions: &[Completion], results: &[CompletionResult]) {
        let mut counts = [0; OUTCOMES.len()];
        for (completion, result) in completions.iter().zip(results) {
            if *result == CompletionResult::Applied
                && let Some(outcome) = place(&completion.outcome)
            {
                counts[outcome] += 1;
            }
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
