//! Percentiles of times, the spread of repeated measurements, and numbers as people read them.

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

    /// The same in milliseconds; no number when nothing was measured.
    pub(super) fn milliseconds(&self, percent: usize) -> f64 {
        self.percentile(percent)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            0 => f.write_str("none"),
            _ => write!(
                f,
                "p50 {}, p99 {} ms",
                number(self.milliseconds(50)),
                number(self.milliseconds(99))
            ),
        }
    }
}

/// What repeated measurements of one thing came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least of them.
    pub lowest: f64,
    /// The one in the middle, or the mean of the two in the middle.
    pub median: f64,
    /// The greatest.
    pub highest: f64,
    /// How many there were.
    pub runs: usize,
}

impl Spread {
    /// Of these; nothing of nothing, nor of what is no number.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        sorted.iter().all(|value| value.is_finite()).then_some(Self {
            lowest,
            median,
            highest,
            runs: sorted.len(),
        })
    }
}

/// With three digits or so, and marks between the thousands.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        ..1000.0 => format!("{value:.0}"),
        _ => {
            let digits = format!("{:.0}", value.abs());
            let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
            for (place, digit) in digits.char_indices() {
                if place > 0 && (digits.len() - place).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}

/// A share of a whole, in percent; of nothing it is none.
pub(super) fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
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
        assert!(samples([]).milliseconds(50).is_nan());
        assert_eq!(samples([]).to_string(), "none");
        assert_eq!(percent(0, 0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN, 2.0]), None);
        assert_eq!(Spread::of(&[f64::INFINITY]), None);
    }

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let spread = |lowest, median, highest, runs| {
            Some(Spread {
                lowest,
                median,
                highest,
                runs,
            })
        };
        assert_eq!(Spread::of(&[5.0, 1.0, 3.0]), spread(1.0, 3.0, 5.0, 3));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]), spread(1.0, 3.0, 9.0, 4));
        assert_eq!(Spread::of(&[7.0]), spread(7.0, 7.0, 7.0, 1));
    }

    #[test]
    fn numbers_have_three_digits_or_so() {
        let written = [0.0, 0.126, 9.87, 45.67, 999.4, 1000.0, 45_000.2, 1_234_567.0, -12_345.0].map(number);
        let wanted = [
            "0.00",
            "0.13",
            "9.87",
            "45.7",
            "999",
            "1,000",
            "45,000",
            "1,234,567",
            "-12,345",
        ];
        assert_eq!(written, wanted);
        assert_eq!(samples([2, 1234]).to_string(), "p50 2.00, p99 1,234 ms");
        assert_eq!(format!("{:.1}", percent(1, 3)), "33.3");
    }
}
