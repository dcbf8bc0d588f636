//! Times on the command line: Unix seconds, or a duration before or after now.

use std::time::{Duration, SystemTime};

use pp_cli::config::{duration, whole};
use pp_lib::serving::latest_run_at;

/// The last second of the year 9999.
const LATEST_SECOND: i64 = 253_402_300_799;

/// Parses a time to come, such as `+1h`, as a Unix second. Part of a second counts as a whole one.
pub(super) fn run_at(text: &str) -> Result<i64, String> {
    let latest = latest_run_at();
    match text.strip_prefix('+') {
        Some(ahead) => {
            let second = now().saturating_add(seconds(duration(ahead)?));
            (second <= latest)
                .then_some(second)
                .ok_or_else(|| "a work starts at most 366 days ahead".to_owned())
        }
        None => whole(0..=latest)(text).map_err(|expected| format!("{expected}, or a time from now, as in +1h")),
    }
}

/// Parses a time in the past, such as `-1h`, as a Unix second.
pub(super) fn since(text: &str) -> Result<i64, String> {
    match text.strip_prefix('-') {
        Some(ago) => Ok(now().saturating_sub(seconds(duration(ago)?)).max(0)),
        None => whole(0..=LATEST_SECOND)(text).map_err(|expected| format!("{expected}, or a time ago, as in -1h")),
    }
}

fn seconds(duration: Duration) -> i64 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since_epoch.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_unix_second_or_relative_to_now() {
        assert_eq!(run_at("1634115736"), Ok(1_634_115_736));
        assert_eq!(since("1634115736"), Ok(1_634_115_736));
        let now = now();
        for (text, from_now) in [
            ("+0", 0),
            ("+1h", 3600),
            ("+1h 30m", 5400),
            ("+1ms", 1),
            ("+365d", 31_536_000),
        ] {
            let ahead = run_at(text).unwrap() - now;
            assert!((from_now..=from_now + 2).contains(&ahead), "{text}: {ahead}");
        }
        let ago = now - since("-1d").unwrap();
        assert!((86_398..=86_400).contains(&ago), "{ago}");
        assert_eq!(since("-366d").map(|second| second > 0), Ok(true));
    }

    #[test]
    fn another_text_is_refused_with_an_example() {
        for (text, why) in [
            ("+1", "needs a unit"),
            ("+", "as in"),
            ("-1", "+1h"),
            ("soon", "+1h"),
            ("+367d", "366 days"),
        ] {
            let error = run_at(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, why) in [("-1", "needs a unit"), ("+1h", "-1h"), ("yesterday", "-1h")] {
            let error = since(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
