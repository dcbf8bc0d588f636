//! The metrics of claims.

use std::collections::BTreeMap;

use crate::domain::KindName;
use crate::runtime::{Metric, kind_label};
use crate::store::ClaimedRun;

const CLAIMED: Metric = Metric::counting(
    "pp_runs_claimed_total",
    &["kind"],
    "Works that workers over HTTP, or consumers without a broker, claimed by way of this process.",
);
const WAITING: Metric = Metric::gauging(
    "pp_workers_waiting",
    &[],
    "Workers that wait for works in this process.",
);

pub(crate) const ALL: [Metric; 2] = [CLAIMED, WAITING];

pub(super) fn claimed(runs: &[ClaimedRun]) {
    let mut counts: BTreeMap<&KindName, u64> = BTreeMap::new();
    for run in runs {
        *counts.entry(&run.kind).or_default() += 1;
    }
    for (kind, count) in counts {
        CLAIMED.counter(&[&kind_label(kind)]).increment(count);
    }
}

pub(super) fn waiting(workers: usize) {
    WAITING.gauge(&[]).set(workers as f64);
}
