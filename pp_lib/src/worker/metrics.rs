//! The metrics of the worker: attempts, batches and commits. They are recorded for each batch, by handles that a
//! consumer keeps.

use std::time::Duration;

use crate::domain::KindName;
use crate::kinds::EndMeter;
use crate::runtime::{Gauge, Histogram, Metric, kind_label};
use crate::store::Completion;
use crate::worker::completion::CompletionResult;

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

pub(crate) const ALL: [Metric; 3] = [BATCH, COMMIT, PLACES];

/// The handles of one kind.
pub(super) struct Meter {
    ends: EndMeter,
    batch: Histogram,
    commit: Histogram,
    places: Gauge,
}

impl Meter {
    pub(super) fn new(kind: &KindName) -> Self {
        let ends = EndMeter::new(kind);
        let kind = kind_label(kind);
        Self {
            ends,
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
        let applied = completions
            .iter()
            .zip(results)
            .filter(|(_, result)| **result == CompletionResult::Applied);
        self.ends.ended(applied.map(|(completion, _)| &completion.outcome));
    }
}
