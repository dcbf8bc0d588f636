//! The clock of the machine, and whether it was set: what it says is compared with a timer, which cannot be.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// What is less than this is no jump: clocks are kept right in small steps.
const TOLERANCE: TimeDelta = TimeDelta::seconds(2);

/// A clock that is watched.
pub(crate) struct Clock<F> {
    read: F,
    /// What it said when it was last looked at, and when that was.
    seen: (DateTime<Utc>, Instant),
}

/// A jump of the clock.
pub(crate) struct Jump {
    /// How far; negative when it was set back.
    pub(crate) by: TimeDelta,
    /// The earliest time that it can have jumped to: it was looked at a while ago.
    pub(crate) to: DateTime<Utc>,
}

impl<F: Fn() -> DateTime<Utc>> Clock<F> {
    /// Watches a clock from now on.
    pub(crate) fn new(read: F) -> Self {
        let seen = (read(), Instant::now());
        Self { read, seen }
    }

    /// The time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.read)()
    }

    /// Whether it jumped since it was last looked at.
    pub(crate) fn look(&mut self) -> Option<Jump> {
        let (before, then) = self.seen;
        let (now, passed) = (self.now(), then.elapsed());
        self.seen = (now, Instant::now());
        let by = now - before - TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        (by.abs() >= TOLERANCE).then(|| Jump { by, to: before + by })
    }
}
