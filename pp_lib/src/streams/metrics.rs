//! The metrics of live streams.

use tokio::sync::Semaphore;

use crate::runtime::Metric;

const CLIENTS: Metric = Metric::gauging("pp_stream_clients", &[], "Clients that follow live streams.");
const CLIENTS_LIMIT: Metric = Metric::gauging(
    "pp_stream_clients_limit",
    &[],
    "The most clients that may follow live streams, PP_STREAM_CLIENTS.",
);

pub(crate) const ALL: [Metric; 2] = [CLIENTS, CLIENTS_LIMIT];

/// Shows the clients by the places that are left.
pub(super) fn show(places: &Semaphore, limit: usize) {
    CLIENTS
        .gauge(&[])
        .set(limit.saturating_sub(places.available_permits()) as f64);
    CLIENTS_LIMIT.gauge(&[]).set(limit as f64);
}
