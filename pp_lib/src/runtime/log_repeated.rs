//! Lines that input or a lasting fault can repeat without end: the first one of a kind is written, the others are
//! counted, and now and then the count is a line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, log, log_enabled};

/// When others of a kind are counted for the first time after its first line; each count after that takes twice as long
/// as the one before.
const FIRST_COUNT: Duration = Duration::from_secs(10);
const LONGEST_COUNT: Duration = Duration::from_secs(600);

/// All kinds of this process that were met lately.
static KINDS: Mutex<Kinds> = Mutex::new(Kinds(BTreeMap::new()));

/// Writes a line unless one of its kind was written lately; then it is counted. A kind is a constant or has few values,
/// such as the names of parts: what comes from outside belongs into the rest of the line.
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

/// The function behind [`log_repeated!`](crate::log_repeated); whether it was written.
pub fn say(level: Level, target: &'static str, kind: impl Into<Cow<'static, str>>, rest: fmt::Arguments<'_>) -> bool {
    if !log_enabled!(target: target, level) {
        return false;
    }
    let kind = kind.into();
    let line = kinds().meet(Instant::now(), level, target, kind, || super::log_text(rest));
    let written = line.is_some();
    line.into_iter().for_each(Told::write);
    written
}

/// Writes the counts that are due.
pub fn write_counts() {
    let counts = kinds().counts(Some(Instant::now()));
    counts.into_iter().for_each(Told::write);
}

/// Writes all counts: the process ends.
pub fn write_last_counts() {
    let counts = kinds().counts(None);
    counts.into_iter().for_each(Told::write);
}

fn kinds() -> std::sync::MutexGuard<'static, Kinds> {
    KINDS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Kinds(BTreeMap<Cow<'static, str>, Kind>);

struct Kind {
    level: Level,
    target: &'static str,
    /// When the last line of it was written.
    written: Instant,
    /// How long others are counted from then on.
    pause: Duration,
    /// How many were counted.
    more: u64,
    /// What the last one of them said.
    last: String,
}

/// A line to be written.
#[derive(Debug, PartialEq)]
struct Told {
    level: Level,
    target: &'static str,
    line: String,
}

impl Told {
    fn write(self) {
        let Self { level, target, line } = self;
        log!(target: target, level, "{line}");
    }
}

impl Kinds {
    /// One more of a kind; the line of it, when it is the first one.
    fn meet(
        &mut self,
        now: Instant,
        level: Level,
        target: &'static str,
        name: Cow<'static, str>,
        rest: impl FnOnce() -> String,
    ) -> Option<Told> {
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
        Some(Told { level, target, line })
    }

    /// The counts that are due at a moment, or all; kinds that were not met again are forgotten.
    fn counts(&mut self, now: Option<Instant>) -> Vec<Told> {
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
            counts.push(Told { level, target, line });
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
        let told = kinds.meet(now, Level::Warn, "here", kind.into(), || rest.to_owned());
        told.map(|told| told.line)
    }

    fn counts(kinds: &mut Kinds, now: Option<Instant>) -> Vec<String> {
        kinds.counts(now).into_iter().map(|told| told.line).collect()
    }

    #[test]
    fn a_flood_is_one_line_and_then_counts_that_become_rare() {
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
    fn kinds_are_counted_apart_and_one_that_is_over_begins_anew() {
        let (mut kinds, start) = (Kinds(BTreeMap::new()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(meet(&mut kinds, start, "one", "a").unwrap(), "one: a");
        assert_eq!(meet(&mut kinds, start, "other", "b").unwrap(), "other: b");
        assert_eq!(meet(&mut kinds, at(9), "one", "c"), None);
        assert_eq!(counts(&mut kinds, Some(at(9))), [""; 0]);
        // A count that nobody wrote yet is not lost to a line that comes late.
        assert_eq!(meet(&mut kinds, at(12), "one", "d"), None);
        assert_eq!(
            counts(&mut kinds, Some(at(12))),
            ["one: 2 more in 12 s, the last one: d"]
        );
        assert_eq!(counts(&mut kinds, Some(at(40))), [""; 0]);
        assert_eq!(meet(&mut kinds, at(41), "one", "e").unwrap(), "one: e");
    }

    #[test]
    fn what_was_counted_is_said_at_the_end() {
        let (mut kinds, start) = (Kinds(BTreeMap::new()), Instant::now());
        meet(&mut kinds, start, "one", "a");
        meet(&mut kinds, start, "one", "b");
        assert_eq!(counts(&mut kinds, None), ["one: 1 more in 0 s, the last one: b"]);
        assert_eq!(counts(&mut kinds, None), [""; 0]);
    }
}
