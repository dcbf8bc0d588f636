//! The recorder of metrics, and what is shown of health, pool, works and process.
//!
//! Only `main` calls [`install`], because the recorder belongs to the process. The page is served by `pp_http`.

mod process;
mod works;

use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use pp_lib::runtime::{Health, Metric, MetricKind, Metrics, State};
use pp_lib::store::AnyStore;

pub use self::works::watch_works;

/// The interval at which recorded times are put into their buckets, which bounds their memory.
const UPKEEP: Duration = Duration::from_secs(5);

const BUILD: Metric = Metric::gauging(
    "pp_build_info",
    &["version"],
    "Always 1; the label has the version of the program.",
);
const READY: Metric = Metric::gauging("pp_ready", &[], "1 while the process is ready, as on /health/ready.");
const PART_UP: Metric = Metric::gauging(
    "pp_part_up",
    &["part"],
    "1 while a part of the process works, perhaps slowly or in part; parts are named as on /health/ready.",
);
const PART_DEGRADED: Metric = Metric::gauging(
    "pp_part_degraded",
    &["part"],
    "1 while a part of the process works slowly or in part.",
);

const OWN: [Metric; 4] = [BUILD, READY, PART_UP, PART_DEGRADED];

/// Every metric that this crate records.
pub fn all() -> Vec<Metric> {
    [&OWN[..], &works::ALL, &process::ALL].concat()
}

/// Installs the recorder of this process and keeps it in order. `others` are the metrics of crates that neither this one
/// nor `pp_lib` knows. If there is a recorder already, the page is empty.
pub fn install(others: &[Metric]) -> Metrics {
    let known = [pp_lib::metrics::all(), all(), others.to_vec()].concat();
    let builder = known.iter().fold(PrometheusBuilder::new(), with_buckets);
    let handle = match builder.install_recorder() {
        Ok(handle) => handle,
        Err(error) => {
            log::warn!("there are no metrics: {error}");
            return Metrics::default();
        }
    };
    known.iter().for_each(Metric::describe);
    pp_lib::metrics::begin_at_zero();
    BUILD.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    let upkeep = handle.clone();
    let keeping = thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        loop {
            thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    });
    if let Err(error) = keeping {
        log::warn!("there are no metrics: {error}");
        return Metrics::default();
    }
    Metrics::new(move || handle.render() + &process::page())
}

fn with_buckets(builder: PrometheusBuilder, metric: &Metric) -> PrometheusBuilder {
    let MetricKind::Histogram(buckets) = metric.kind else {
        return builder;
    };
    builder
        .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
        .unwrap_or_else(|_| unreachable!("a histogram has buckets"))
}

/// Shows the health of the process and of its parts.
pub fn show_health(metrics: &Metrics, health: &Health) {
    let health = health.clone();
    metrics.before_each_page(move || {
        let report = health.report();
        READY.gauge(&[]).set(f64::from(u8::from(report.is_ready())));
        for part in report.parts {
            let is = |states: &[State]| f64::from(u8::from(states.contains(&part.state)));
            PART_UP.gauge(&[part.name]).set(is(&[State::Up, State::Degraded]));
            PART_DEGRADED.gauge(&[part.name]).set(is(&[State::Degraded]));
        }
    });
}

/// Shows the connections of a store.
pub fn show_pool(metrics: &Metrics, store: &AnyStore) {
    let store = store.clone();
    metrics.before_each_page(move || {
        if let Some(pool) = store.pool() {
            pool.show();
        }
    });
}
