//! The metrics of the store.

use crate::domain::KindName;
use crate::runtime::{Metric, kind_label};

const DUE_TO_DONE: Metric = Metric::distributing(
    "pp_work_due_to_done_seconds",
    Metric::WAITS,
    &["kind"],
    "Time from the moment a work was asked for, or was to run, until it was done; works of a first generation whose row was there before.",
);
const DEAD_LETTERS: Metric = Metric::counting(
    "pp_dead_letters_total",
    &["of"],
    "Dead letters made: of a work that was given up, or of a message that could not be computed.",
);
const CONNECTIONS: Metric = Metric::gauging(
    "pp_database_connections",
    &[],
    "Open connections of the pool to the database.",
);
const CONNECTIONS_IN_USE: Metric = Metric::gauging(
    "pp_database_connections_in_use",
    &[],
    "Connections of the pool that a call uses.",
);
const CONNECTIONS_LIMIT: Metric = Metric::gauging(
    "pp_database_connections_limit",
    &[],
    "The most connections of the pool, PP_DATABASE_POOL.",
);

pub(crate) const ALL: [Metric; 5] = [
    DUE_TO_DONE,
    DEAD_LETTERS,
    CONNECTIONS,
    CONNECTIONS_IN_USE,
    CONNECTIONS_LIMIT,
];

/// Notes how long works took until they were done, in seconds.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn done_after(kind: &KindName, seconds: impl ExactSizeIterator<Item = f64>) {
    if seconds.len() > 0 {
        let histogram = DUE_TO_DONE.histogram(&[&kind_label(kind)]);
        seconds.for_each(|seconds| histogram.record(seconds));
    }
}

pub(crate) fn begin_at_zero() {
    for of in ["work", "message"] {
        DEAD_LETTERS.counter(&[of]).increment(0);
    }
}

/// Notes a work that was given up.
pub(super) fn work_given_up() {
    DEAD_LETTERS.counter(&["work"]).increment(1);
}

/// Notes messages that became dead letters in the store.
pub(crate) fn dead_messages(count: usize) {
    DEAD_LETTERS.counter(&["message"]).increment(count as u64);
}

/// The connections of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Those that are open.
    pub open: u32,
    /// Those that a call uses.
    pub in_use: u32,
    /// The most that may be open.
    pub limit: u32,
}

impl PoolState {
    /// Shows it as metrics.
    pub fn show(self) {
        CONNECTIONS.gauge(&[]).set(self.open);
        CONNECTIONS_IN_USE.gauge(&[]).set(self.in_use);
        CONNECTIONS_LIMIT.gauge(&[]).set(self.limit);
    }
}
