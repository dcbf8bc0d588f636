//! Limits log lines that input or a lasting fault repeats: the first line of a kind is written, and further ones are
//! counted and reported from time to time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, log, log_enabled};

/// The time from the first line to the first count. The time to each further count doubles.
const FIRST_COUNT: Duration = Duration::from_secs(10);
const LONGEST_COUNT: Duration = Duration::from_secs(600);

/// All kinds of lines that this process logged recently.
static KINDS: Mutex<Kinds> = Mutex::new(Kinds(BTreeMap::new()));

/// Logs a line, or only counts it if a line of its kind was logged recently. A kind is a constant or has few values,
/// such as the names of parts. External data belongs into the rest of the line.
///
/// ```
/// # use pp_lib::log_repeated;
/// let reason = "no JSON";
/// log_repeated!(Warn, "a message is a dead letter", "{reason}");
/// ```
#[macro_export]
macro_rules! log_repeated {
    ($level:ident, $kind:expr, $($rest:tt)+) => {{
        let _ = $crate::runtime::say($crate::runtime::Level::$level, module_path!(), $kind, format_args!($($rest)+));
    }};
}

/// The function behind [`log_repeated!`](crate::log_repeated). Answers `true` if the line was written.
pub fn say(level: Level, target: &'static str, kind: impl Into<Cow<'static, str>>, rest: fmt::Arguments<'_>) -> bool {
    if !log_enabled!(target: target, level) {
        return false;
    }
    let kind = kind.into();
    let line = kinds().meet(Instant::now(), level, target, kind, || super::log_text(rest));
    let written = line.is_some();
    line.into_iter().for_each(LogLine::write);
    written
}

/// Writes due counts.
pub fn write_counts() {
    let counts = kinds().counts(Some(Instant::now()));
    counts.into_iter().for_each(LogLine::write);
}

/// Writes all counts at the end of the process.
pub fn write_last_counts() {
    let counts = kinds().counts(None);
    counts.into_iter().for_each(LogLine::write);
}

fn kinds() -> std::sync::MutexGuard<'static, Kinds> {
    KINDS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Kinds(BTreeMap<Cow<'static, str>, Kind>);

struct Kind {
    level: Level,
    target: &'static str,
    /// The time of its last line.
    written: Instant,
    /// The time from then to the next count.
    pause: Duration,
    /// The number of counted lines.
    more: u64,
    /// The text of the last counted line.
    last: String,
}

#[derive(Debug, PartialEq)]
struct LogLine {
    level: Level,
    target: &'static str,
    line: String,
}

impl LogLine {
    fn write(self) {
        let Self { level, target, line } = self;
        log!(target: target, level, "{line}");
    }
}

impl Kinds {
    /// Records a line. Answers the line if it is the first of its kind.
    fn meet(
        &mut self,
        now: Instant,
        level: Level,
        target: &'static str,
        name: Cow<'static, str>,
        rest: impl FnOnce() -> String,
    ) -> Option<LogLine> {
        if let Some(kind) = self.0.get_mut(&name)
            && (kind.more > 0 || now.duration_since(kind.written) < kind.pause)
        {
            kind.more += 1;
            kind.last = rest();
            return None;
        }
        let line = match rest() {
            rest if rest.is_empty() => name.to_string(),
            rest => format!("{name}: {rest}"),
        };
        let kind = Kind {
            level,
            target,
            written: now,
            pause: FIRST_COUNT,
            more: 0,
            last: String::new(),
        };
        self.0.insert(name, kind);
        Some(LogLine { level, target, line })
    }

    /// The counts due at a moment, or all counts. Kinds that did not occur again are forgotten.
    fn counts(&mut self, now: Option<Instant>) -> Vec<LogLine> {
        let mut counts = Vec::new();
        self.0.retain(|name, kind| {
            let passed = now.unwrap_or_else(Instant::now).duration_since(kind.written);
            if now.is_some() && passed < kind.pause {
                return true;
            }
            if kind.more == 0 {
                return false;
            }
            let Kind {
                level,
                target,
                more,
                ref last,
                ..
            } = *kind;
            let seconds = passed.as_secs();
            let mut line = format!("{name}: {more} more in {seconds} s");
            if !last.is_empty() {
                line += &format!(", the last one: {last}");
            }
            counts.push(LogLine { level, target, line });
            kind.written += passed;
            kind.pause = (kind.pause * 2).min(LONGEST_COUNT);
            kind.more = 0;
            true
        });
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(kinds: &mut Kinds, now: Instant, kind: &'static str, rest: &str) -> Option<String> {
        let logged = kinds.meet(now, Level::Warn, "here", kind.into(), || rest.to_owned());
        logged.map(|logged| logged.line)
    }

    fn counts(kinds: &mut Kinds, now: Option<Instant>) -> Vec<String> {
        kinds.counts(now).into_iter().map(|logged| logged.line).collect()
    }

    #[test]
    fn a_flood_becomes_one_line_and_ever_rarer_counts() {
        let (mut kinds, start) = (Kinds(BTreeMap::new()), Instant::now());
        let mut lines = Vec::new();
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            for number in 0..100 {
                lines.extend(meet(&mut kinds, now, "bad message", &format!("no JSON ({number})")));
            }
            lines.extend(counts(&mut kinds, Some(now)));
        }
        assert_eq!(lines[0], "bad message: no JSON (0)");
        assert_eq!(lines[1], "bad message: 1099 more in 10 s, the last one: no JSON (99)");
        assert_eq!(lines[2], "bad message: 2000 more in 20 s, the last one: no JSON (99)");
        assert_eq!(lines.len(), 1 + 6 + 4, "10 to 320 s, then every 600 s: {lines:#?}");
    }

    #[test]
    fn kinds_are_counted_separately_and_a_finished_one_starts_again() {
        let (mut kinds, start) = (Kinds(BTreeMap::new()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(meet(&mut kinds, start, "one", "a").unwrap(), "one: a");
        assert_eq!(meet(&mut kinds, start, "other", "b").unwrap(), "other: b");
        assert_eq!(meet(&mut kinds, at(9), "one", "c"), None);
        assert_eq!(counts(&mut kinds, Some(at(9))), [""; 0]);
        // A late line does not lose a count that was not written yet.
        assert_eq!(meet(&mut kinds, at(12), "one", "d"), None);
        assert_eq!(
            counts(&mut kinds, Some(at(12))),
            ["one: 2 more in 12 s, the last one: d"]
        );
        assert_eq!(counts(&mut kinds, Some(at(40))), [""; 0]);
        assert_eq!(meet(&mut kinds, at(41), "one", "e").unwrap(), "one: e");
    }

    #[test]
    fn the_remaining_counts_are_written_at_the_end() {
        let (mut kinds, start) = (Kinds(BTreeMap::new()), Instant::now());
        meet(&mut kinds, start, "one", "a");
        meet(&mut kinds, start, "one", "b");
        assert_eq!(counts(&mut kinds, None), ["one: 1 more in 0 s, the last one: b"]);
        assert_eq!(counts(&mut kinds, None), [""; 0]);
    }
}
