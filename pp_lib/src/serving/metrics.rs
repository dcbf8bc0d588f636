//! The metrics of answering requests: batches of the actors, sources of reads, and how fresh the caches are.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::runtime::{Counter, Gauge, Histogram, Metric};
use crate::serving::Source;

const BATCH: Metric = Metric::distributing(
    "pp_serving_batch_requests",
    Metric::SIZES,
    &["actor"],
    "Requests that an actor answered together.",
);
const BATCH_SECONDS: Metric = Metric::distributing(
    "pp_serving_batch_seconds",
    Metric::SECONDS,
    &["actor"],
    "Time of an actor for a batch, a commit where it writes.",
);
const REFUSED: Metric = Metric::counting(
    "pp_serving_refused_total",
    &["actor"],
    "Requests that were refused because too many waited.",
);
const READS: Metric = Metric::counting(
    "pp_reads_total",
    &["source"],
    "Reads of a work by the source of the answer: near and cache are hits; store, not_fresh and bypass are misses; stale is a cached answer while the database is away.",
);
const STALENESS: Metric = Metric::distributing(
    "pp_cache_staleness_seconds",
    Metric::SECONDS,
    &["cache"],
    "Age that entries of a cache could have before it was marked as fresh again.",
);
const CAUGHT_UP: Metric = Metric::gauging(
    "pp_feed_caught_up_timestamp_seconds",
    &["cache"],
    "Unix time at which this process last read the feed of changes to its end for a cache; of a shared cache one process does.",
);

pub(crate) const ALL: [Metric; 6] = [BATCH, BATCH_SECONDS, REFUSED, READS, STALENESS, CAUGHT_UP];

/// The handles of an actor's mailbox.
#[derive(Clone)]
pub(super) struct MailboxMeter {
    batch: Histogram,
    seconds: Histogram,
    refused: Counter,
}

impl MailboxMeter {
    pub(super) fn new(actor: &'static str) -> Self {
        Self {
            batch: BATCH.histogram(&[actor]),
            seconds: BATCH_SECONDS.histogram(&[actor]),
            refused: REFUSED.counter(&[actor]),
        }
    }

    pub(super) fn refused(&self) {
        self.refused.increment(1);
    }

    pub(super) fn answered(&self, requests: usize, after: Duration) {
        self.batch.record(requests as f64);
        self.seconds.record(after);
    }
}

const SOURCES: [&str; 6] = ["near", "cache", "store", "not_fresh", "bypass", "stale"];

/// Notes the source of an answer.
pub(super) fn read_from(source: Source) {
    static COUNTERS: LazyLock<[Counter; SOURCES.len()]> =
        LazyLock::new(|| SOURCES.map(|source| READS.counter(&[source])));
    let place = match source {
        Source::Near => 0,
        Source::Cache => 1,
        Source::Store { .. } => 2,
        Source::NotFresh => 3,
        Source::Bypass => 4,
        Source::Stale => 5,
    };
    COUNTERS[place].increment(1);
}

/// The handles of a refresher.
#[derive(Clone)]
pub(super) struct RefresherMeter {
    staleness: Histogram,
    caught_up: Gauge,
}

impl RefresherMeter {
    pub(super) fn new(cache: &'static str) -> Self {
        Self {
            staleness: STALENESS.histogram(&[cache]),
            caught_up: CAUGHT_UP.gauge(&[cache]),
        }
    }

    /// Notes a mark, and the time since the moment of the mark before.
    pub(super) fn marked(&self, stale_for: Option<Duration>) {
        if let Some(stale_for) = stale_for {
            self.staleness.record(stale_for);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.caught_up.set(now.as_secs_f64());
    }
}
