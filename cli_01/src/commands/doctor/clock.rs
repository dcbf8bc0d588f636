//! Clocks of servers beside the one of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Checked;

/// The largest harmless difference. Leases and schedules are longer.
const MOST_MS: i64 = 2000;

/// This machine's clock, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// How far a clock that told a time from `first` to `last` is ahead of this one, if it was asked between `began` and
/// `ended`. Within these limits it is 0.
pub(super) fn ahead_ms((first, last): (i64, i64), (began, ended): (i64, i64)) -> i64 {
    (first - ended).max(0) + (last - began).min(0)
}

/// Reports the clock of a server that is so far ahead of this one.
pub(super) fn report(checked: &mut Checked, check: &str, ahead_ms: i64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a difference in milliseconds is shown in tenths of a second"
    )]
    let seconds = (ahead_ms as f64 / 1000.0).abs();
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    if ahead_ms.abs() <= MOST_MS {
        checked.ok(check, "the same as here");
    } else {
        checked.wrong(
            check,
            format!("{seconds:.1} s {side} the one here"),
            "let NTP set the clocks of both machines",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_beyond_what_the_question_took() {
        assert_eq!(ahead_ms((1000, 1999), (1500, 1600)), 0);
        assert_eq!(ahead_ms((9000, 9999), (1500, 1600)), 7400);
        assert_eq!(ahead_ms((1000, 1999), (9000, 9100)), -7001);
    }

    #[test]
    fn a_clock_that_differs_by_seconds_is_wrong() {
        let found = |ahead| {
            let mut checked = Checked::default();
            report(&mut checked, "clock", ahead);
            (checked.0[0].level.as_str(), checked.0[0].found.clone())
        };
        assert_eq!(found(-2000), ("ok", "the same as here".to_owned()));
        assert_eq!(found(7400), ("wrong", "7.4 s ahead of the one here".to_owned()));
        assert_eq!(found(-7001), ("wrong", "7.0 s behind the one here".to_owned()));
    }
}
