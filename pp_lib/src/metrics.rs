//! The metrics of the library: those of each room, in one list.

use crate::runtime::Metric;
use crate::{broker, maintenance, serving, store, streams, worker};

/// Every metric that the library records.
pub fn all() -> Vec<Metric> {
    let rooms: [&[Metric]; 6] = [
        &broker::metrics::ALL,
        &store::metrics::ALL,
        &serving::metrics::ALL,
        &worker::metrics::ALL,
        &maintenance::metrics::ALL,
        &streams::metrics::ALL,
    ];
    rooms.concat()
}
