//! Tables for the counters.

use comfy_table::Table;
use pp_lib::domain::{ByStatus, Origin, Stats, Status};

use super::{align_right, plain};

/// The works by origin and status.
pub(super) fn works_table(stats: &Stats) -> Table {
    let mut table = plain(&["ORIGIN", "PENDING", "RUNNING", "DONE", "FAILED", "CANCELLED"]);
    align_right(&mut table, &[1, 2, 3, 4, 5]);
    let mut works = stats.works;
    table.add_rows(Origin::ALL.map(|origin| row(origin, *works.of(origin))));
    table
}

fn row(origin: Origin, mut works: ByStatus) -> Vec<String> {
    let counts = Status::ALL.map(|status| works.of(status).to_string());
    [origin.as_str().to_owned()].into_iter().chain(counts).collect()
}

/// The backlog and the throughput.
pub(super) fn pace_table(stats: &Stats) -> Table {
    let mut table = plain(&[
        "BACKLOG",
        "SCHEDULED",
        "DONE/S OVER 1 S",
        "OVER 60 S",
        "P50 MS",
        "P99 MS",
    ]);
    align_right(&mut table, &[0, 1, 2, 3, 4, 5]);
    let latency = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    table.add_row([
        stats.backlog.to_string(),
        stats.scheduled.to_string(),
        format!("{:.1}", stats.works_per_second.over_1s),
        format!("{:.1}", stats.works_per_second.over_60s),
        latency(stats.latency_ms.p50),
        latency(stats.latency_ms.p99),
    ]);
    table
}
