//! Percentiles of what was measured, and numbers as people read them.

use std::fmt;
use std::time::Duration;

/// Measured times, sorted.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

impl Samples {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The least time that so many of a hundred did not exceed; nothing of nothing.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let place = (self.0.len() * percent.min(100)).div_ceil(100).max(1);
        self.0.get(place - 1).copied()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.percentile(50), self.percentile(99)) {
            (Some(p50), Some(p99)) => write!(f, "p50 {}, p99 {} ms", milliseconds(p50), milliseconds(p99)),
            _ => f.write_str("none"),
        }
    }
}

/// Without the unit.
pub(super) fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.2}"),
        ..100.0 => format!("{milliseconds:.1}"),
        _ => format!("{milliseconds:.0}"),
    }
}

/// A share of a whole, in percent; of nothing it is none.
pub(super) fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

/// How many a second.
pub(super) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(times: impl IntoIterator<Item = u64>) -> Samples {
        times.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let hundred = samples((1..=100).rev());
        for percent in [1, 50, 99, 100] {
            assert_eq!(hundred.percentile(percent), Some(Duration::from_millis(percent as u64)));
        }
        assert_eq!(hundred.percentile(0), Some(Duration::from_millis(1)));
        let three = samples([30, 10, 20]);
        assert_eq!(three.percentile(50), Some(Duration::from_millis(20)));
        assert_eq!(three.percentile(67), Some(Duration::from_millis(30)));
        assert_eq!(samples([7]).percentile(99), Some(Duration::from_millis(7)));
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        assert_eq!(samples([]).percentile(50), None);
        assert_eq!(samples([]).to_string(), "none");
        assert_eq!(percent(0, 0).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn they_are_written_with_three_digits_or_so() {
        assert_eq!(samples([2, 1234]).to_string(), "p50 2.00, p99 1234 ms");
        assert_eq!(milliseconds(Duration::from_micros(56_780)), "56.8");
        assert_eq!(format!("{:.1}", percent(1, 3)), "33.3");
        assert_eq!(format!("{:.0}", rate(30, Duration::from_secs(2))), "15");
    }
}
