//! The metrics of the library: those of each room, in one list.

use crate::runtime::Metric;
use crate::{broker, claims, kinds, maintenance, serving, store, streams, worker};

/// Shows what alerts watch as zero, because an increase from nothing is not seen. The program calls it once there is a
/// recorder.
pub fn begin_at_zero() {
    store::metrics::begin_at_zero();
    maintenance::metrics::lost_leases(0);
}

/// Every metric that the library records.
pub fn all() -> Vec<Metric> {
    let rooms: [&[Metric]; 8] = [
        &broker::metrics::ALL,
        &claims::metrics::ALL,
        &kinds::metrics::ALL,
        &store::metrics::ALL,
        &serving::metrics::ALL,
        &worker::metrics::ALL,
        &maintenance::metrics::ALL,
        &streams::metrics::ALL,
    ];
    rooms.concat()
}
