//! The counters. The statements that change works keep them, so serving them counts no works.
//!
//! Each of those statements writes to `stat_deltas` how many works went from one status to another. The deltas are
//! rolled up into totals now and then. Only scheduled works are counted, in an index of their own: when their time
//! comes, no statement changes them. Here is also what both adapters compute from the numbers they read.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::error::Result;
use super::works::Search;
use crate::domain::{ByStatus, DoneOfKind, KindCounts, KindName, Latency, Origin, Rates, Seconds, Stats, Status, Work};

/// The newest works, as many as the counters show.
pub(super) fn newest(kind: Option<&KindName>) -> Search {
    Search {
        work_code: None,
        kind: kind.cloned(),
        status: None,
        since: None,
        before: None,
        limit: 10,
    }
}

/// The counters, and how they are kept.
#[async_trait]
pub trait Views: Send + Sync {
    /// The counters as of now, whether rolled up or not: of all works, or of those of one kind.
    async fn stats(&self, kind: Option<&KindName>) -> Result<Stats>;

    /// The counts of every kind that has works, in the order of their names. It reads the counters and no works.
    async fn kind_counts(&self) -> Result<Vec<KindCounts>>;

    /// What was done in each of the last whole seconds, by the kinds that did most.
    async fn seconds(&self) -> Result<Seconds>;

    /// Rolls the deltas up into the totals; returns the number of deltas. Writers do not wait for it, and several calls
    /// may run at once.
    async fn roll_up(&self) -> Result<u64>;

    /// Counts all works anew, for totals that were damaged. Writers do not wait for it.
    async fn rebuild(&self) -> Result<()>;
}

/// The works of one kind and origin in one status.
#[derive(Clone, Debug)]
pub(super) struct Count {
    pub(super) kind: KindName,
    pub(super) origin: Origin,
    pub(super) status: Status,
    pub(super) works: i64,
}

/// The works of one latency bucket that became done within the last whole second and the last 60.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// None where it is not known.
    pub(super) bucket: Option<u8>,
    pub(super) over_1s: i64,
    pub(super) over_60s: i64,
}

/// The works of a kind that became done in a second. `None` stands for the kinds that are not told apart.
#[derive(Clone, Debug)]
pub(super) struct DoneBy {
    pub(super) second: i64,
    pub(super) kind: Option<KindName>,
    pub(super) works: i64,
}

/// The works of a latency bucket that became done in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct DoneWithin {
    pub(super) second: i64,
    pub(super) bucket: Option<u8>,
    pub(super) works: i64,
}

/// The seconds before `this` from what was read; `within` in the order of the buckets.
pub(super) fn seconds(this: i64, by: Vec<DoneBy>, within: &[DoneWithin]) -> Seconds {
    let from = this - Seconds::COUNT;
    let place = |second: i64| usize::try_from(second - from).ok();
    let none = || vec![0; usize::try_from(Seconds::COUNT).unwrap_or_default()];
    let mut kinds: BTreeMap<Option<KindName>, Vec<i64>> = BTreeMap::new();
    for DoneBy { second, kind, works } in by {
        let done = kinds.entry(kind).or_insert_with(none);
        if let Some(done) = place(second).and_then(|place| done.get_mut(place)) {
            *done += works;
        }
    }
    let mut done: Vec<DoneOfKind> = kinds
        .into_iter()
        .map(|(kind, per_second)| DoneOfKind { kind, per_second })
        .collect();
    // The kind that did most comes first, and the others last.
    done.sort_by_key(|done| (done.kind.is_none(), -done.per_second.iter().sum::<i64>()));
    let latency = |percent| {
        let of = |second| {
            let done = within.iter().filter(|done| done.second == second);
            let done: Vec<Done> = done
                .map(|done| Done {
                    bucket: done.bucket,
                    over_1s: 0,
                    over_60s: done.works,
                })
                .collect();
            percentile(&done, percent)
        };
        (from..this).map(of).collect()
    };
    Seconds {
        from,
        done,
        p50_ms: latency(50),
        p99_ms: latency(99),
    }
}

/// The counters from what was read; `done` in the order of the buckets.
pub(super) fn assembled(counts: &[Count], scheduled: i64, done: &[Done], newest: Vec<Work>) -> Stats {
    let mut stats = Stats {
        works_per_second: Rates {
            over_1s: done.iter().map(|done| done.over_1s).sum::<i64>() as f64,
            over_60s: done.iter().map(|done| done.over_60s).sum::<i64>() as f64 / 60.0,
        },
        latency_ms: Latency {
            p50: percentile(done, 50),
            p99: percentile(done, 99),
        },
        newest,
        scheduled,
        backlog: -scheduled,
        ..Stats::default()
    };
    for count in counts {
        *stats.works.of(count.origin).of(count.status) += count.works;
        if matches!(count.status, Status::Pending | Status::Running) {
            stats.backlog += count.works;
        }
    }
    stats
}

/// The counts of each kind that has works.
pub(super) fn by_kind(counts: Vec<Count>) -> Vec<KindCounts> {
    let mut kinds: BTreeMap<KindName, ByStatus> = BTreeMap::new();
    for count in counts {
        *kinds.entry(count.kind).or_default().of(count.status) += count.works;
    }
    let kinds = kinds.into_iter().map(|(kind, works)| KindCounts { kind, works });
    kinds.filter(|counts| counts.works != ByStatus::default()).collect()
}

/// The latency, in milliseconds, that this percentage of works did not exceed.
fn percentile(done: &[Done], percent: i64) -> Option<f64> {
    let known = || {
        done.iter()
            .filter_map(|done| done.bucket.map(|bucket| (bucket, done.over_60s)))
    };
    let all: i64 = known().map(|(_, works)| works).sum();
    let mut so_far = 0;
    let reached = known().find(|(_, works)| {
        so_far += works;
        so_far > 0 && so_far * 100 >= all * percent
    });
    reached.map(|(bucket, _)| bucket_end_ms(bucket))
}

/// The bucket of a latency: eight for each octave of milliseconds, up to seven weeks. PostgreSQL computes the same.
#[cfg(feature = "sqlite")]
pub(super) fn bucket_of(latency_ms: i64) -> u8 {
    // Larger ones are cut off by the cast.
    (8.0 * (latency_ms.max(1) as f64).log2()).floor() as u8
}

/// The latency at which a bucket ends, in milliseconds with two decimals.
pub(super) fn bucket_end_ms(bucket: u8) -> f64 {
    (2_f64.powf((f64::from(bucket) + 1.0) / 8.0) * 100.0).ceil() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_at_most_a_tenth_above_what_is_in_it() {
        assert_eq!([bucket_of(-5), bucket_of(0), bucket_of(1)], [0, 0, 0]);
        assert_eq!(bucket_of(i64::MAX), 255);
        for exponent in 0..120 {
            let latency_ms = 1.3_f64.powi(exponent).min(4e9) as i64;
            let end = bucket_end_ms(bucket_of(latency_ms));
            assert!(
                latency_ms as f64 <= end && end <= latency_ms as f64 * 1.1,
                "{latency_ms} ends at {end}"
            );
        }
    }

    #[test]
    fn percentiles_count_what_is_known() {
        let done = |bucket, over_60s| Done {
            bucket,
            over_1s: 0,
            over_60s,
        };
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[done(None, 5)], 50), None);
        let some = [
            done(None, 1_000),
            done(Some(7), 1),
            done(Some(15), 98),
            done(Some(23), 1),
        ];
        assert_eq!(percentile(&some, 1), Some(2.0));
        assert_eq!(percentile(&some, 50), Some(4.0));
        assert_eq!(percentile(&some, 99), Some(4.0));
        assert_eq!(percentile(&some, 100), Some(8.0));
    }
}
