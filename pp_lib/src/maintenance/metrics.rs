//! The metrics of the dispatcher.

use crate::domain::KindName;
use crate::runtime::{Metric, kind_label};

const CLAIMED: Metric = Metric::counting(
    "pp_claims_total",
    &["kind"],
    "Due rows that this dispatcher claimed for sending.",
);
const LOST_LEASES: Metric = Metric::counting(
    "pp_lost_leases_total",
    &[],
    "Running works whose worker was lost and that this process took back or gave up.",
);

pub(crate) const ALL: [Metric; 2] = [CLAIMED, LOST_LEASES];

pub(super) fn claimed(kind: &KindName, rows: usize) {
    CLAIMED.counter(&[&kind_label(kind)]).increment(rows as u64);
}

pub(crate) fn lost_leases(rows: u64) {
    LOST_LEASES.counter(&[]).increment(rows);
}
