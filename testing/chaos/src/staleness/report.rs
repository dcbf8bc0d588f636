//! What a run came to, in lines for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::faults::Struck;
use super::{Plan, Verdict};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// How long it took.
    pub seconds: f64,
    /// What happened meanwhile.
    pub struck: Struck,
    /// Where the answers came from.
    pub sources: BTreeMap<String, u64>,
    /// How stale they were.
    pub verdict: Verdict,
}

impl Report {
    /// Whether nothing was staler than this.
    pub fn is_within(&self, bound: Duration) -> bool {
        self.verdict.worst() <= bound
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "counts of this size are exact in a float")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plan,
            seconds,
            struck,
            sources,
            verdict,
        } = self;
        let (changes, reads) = (f64::from(plan.changes), verdict.reads as f64);
        writeln!(
            f,
            "{} changes of {} works in {seconds:.1} s ({:.0}/s); {} reads over two API processes ({:.0}/s)",
            plan.changes,
            plan.works,
            changes / seconds,
            verdict.reads,
            reads / seconds
        )?;
        writeln!(
            f,
            "listeners terminated {} times, Redis emptied {} times, an API process frozen {} times for {:.1} s in all",
            struck.terminated,
            struck.flushed,
            struck.frozen,
            struck.frozen_for.as_secs_f64()
        )?;
        for (source, count) in sources {
            writeln!(f, "  {:5.1} % of the reads: {source}", 100.0 * *count as f64 / reads)?;
        }
        write!(
            f,
            "stale reads per million: {}; of these 99 % by at most {} ms; worst staleness: {} ms",
            verdict.per_million(),
            verdict.p99().as_millis(),
            verdict.worst().as_millis()
        )
    }
}
