//! What a metric is, how it is recorded with labels of a bounded number of values, and the page of all metrics.
//!
//! Which metrics there are is in the `metrics.rs` of each room. The recorder belongs to the process, so `pp_cli` installs
//! it. Without one, recording has no effect.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use metrics::{Counter, Gauge, Histogram};
use metrics::{Key, Label, Level, Metadata, with_recorder};

use crate::domain::KindName;

/// The most kinds that metrics name. Further ones share the name [`OTHER`].
const MOST_KINDS: usize = 100;

/// The label of what has no label of its own.
pub const OTHER: &str = "other";

static METADATA: Metadata<'static> = Metadata::new("pp", Level::INFO, None);

/// A metric, as it is documented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name, which ends with its unit.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its meaning, in one sentence.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution over buckets, each with its upper bound.
    Histogram(&'static [f64]),
}

impl MetricKind {
    /// Its name in the format of Prometheus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Metric {
    /// Bounds for times of calls, in seconds.
    pub const SECONDS: &[f64] = &[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
    /// Bounds for times that works wait, in seconds.
    pub const WAITS: &[f64] = &[
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0,
        86400.0,
    ];
    /// Bounds for numbers of things that are handled together.
    pub const SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

    /// A counter.
    pub const fn counting(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, MetricKind::Counter, labels, help)
    }

    /// A gauge.
    pub const fn gauging(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, MetricKind::Gauge, labels, help)
    }

    /// A histogram.
    pub const fn distributing(
        name: &'static str,
        buckets: &'static [f64],
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, MetricKind::Histogram(buckets), labels, help)
    }

    const fn new(name: &'static str, kind: MetricKind, labels: &'static [&'static str], help: &'static str) -> Self {
        Self {
            name,
            kind,
            labels,
            help,
        }
    }

    /// The counter with these values of its labels. What records often keeps it.
    pub fn counter(&self, values: &[&str]) -> Counter {
        with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// The gauge with these values of its labels.
    pub fn gauge(&self, values: &[&str]) -> Gauge {
        with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    /// The histogram with these values of its labels.
    pub fn histogram(&self, values: &[&str]) -> Histogram {
        with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    /// Tells the recorder its meaning.
    pub fn describe(&self) {
        with_recorder(|recorder| match self.kind {
            MetricKind::Counter => recorder.describe_counter(self.name.into(), None, self.help.into()),
            MetricKind::Gauge => recorder.describe_gauge(self.name.into(), None, self.help.into()),
            MetricKind::Histogram(_) => recorder.describe_histogram(self.name.into(), None, self.help.into()),
        });
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let label = |(name, value): (&&'static str, &&str)| Label::new(*name, (*value).to_owned());
        let labels: Vec<Label> = self.labels.iter().zip(values).map(label).collect();
        Key::from_parts(self.name, labels)
    }
}

/// The label of a kind: its name, or [`OTHER`] once there are too many.
pub fn kind_label(kind: &KindName) -> String {
    static NAMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    label_within(&mut NAMED.lock().unwrap_or_else(PoisonError::into_inner), kind.as_str())
}

fn label_within(named: &mut BTreeSet<String>, name: &str) -> String {
    if !named.contains(name) {
        if named.len() >= MOST_KINDS {
            return OTHER.to_owned();
        }
        named.insert(name.to_owned());
    }
    name.to_owned()
}

type Reading = Box<dyn Fn() + Send>;
type Render = dyn Fn() -> String + Send + Sync;

/// The metrics of a process as a page. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    render: Option<Arc<Render>>,
    readings: Arc<Mutex<Vec<Reading>>>,
}

impl Metrics {
    /// The page that `render` makes of what the process' recorder has.
    pub fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self {
            render: Some(Arc::new(render)),
            readings: Arc::default(),
        }
    }

    /// Takes this reading before each page, for gauges that are read at no cost. A part of the program calls it once, at
    /// its start.
    pub fn before_each_page(&self, reading: impl Fn() + Send + 'static) {
        if self.render.is_some() {
            self.readings().push(Box::new(reading));
        }
    }

    /// The page in the text format of Prometheus. It is empty if the process has no recorder.
    pub fn page(&self) -> String {
        let Some(render) = &self.render else {
            return String::new();
        };
        self.readings().iter().for_each(|reading| reading());
        render()
    }

    fn readings(&self) -> std::sync::MutexGuard<'_, Vec<Reading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_kinds_share_a_label() {
        let mut named = BTreeSet::new();
        let labels: BTreeSet<String> = (0..1_000)
            .map(|number| label_within(&mut named, &format!("kind_{number}")))
            .collect();
        assert_eq!(labels.len(), MOST_KINDS + 1);
        assert!(labels.contains(OTHER));
        assert_eq!(label_within(&mut named, "kind_7"), "kind_7");
    }

    #[test]
    fn a_page_follows_its_readings() {
        let (read, page) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let (reading, shown) = (Arc::clone(&read), Arc::clone(&page));
        let metrics = Metrics::new(move || shown.lock().unwrap().to_string());
        metrics.before_each_page(move || {
            *reading.lock().unwrap() += 1;
            *page.lock().unwrap() = *reading.lock().unwrap();
        });
        assert_eq!([metrics.page(), metrics.clone().page()], ["1", "2"]);
        assert_eq!(*read.lock().unwrap(), 2);
        assert_eq!(Metrics::default().page(), "");
    }
}
