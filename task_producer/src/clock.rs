//! The system clock with detection of jumps. A timer, which cannot be set, is the reference.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// The smallest difference that counts as a jump. Systems correct their clocks in small steps.
const TOLERANCE: TimeDelta = TimeDelta::seconds(2);

/// A clock whose jumps are detected.
pub(crate) struct Clock<F> {
    read: F,
    /// The time and the instant of the last look.
    last_look: (DateTime<Utc>, Instant),
}

/// A jump of the clock.
pub(crate) struct Jump {
    /// The distance; negative if the clock was set back.
    pub(crate) by: TimeDelta,
    /// The earliest possible time after the jump. The last look was a while ago.
    pub(crate) to: DateTime<Utc>,
}

impl<F: Fn() -> DateTime<Utc>> Clock<F> {
    /// Watches a clock from now on.
    pub(crate) fn new(read: F) -> Self {
        let last_look = (read(), Instant::now());
        Self { read, last_look }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.read)()
    }

    /// The jump since the last look, or `None`.
    pub(crate) fn look(&mut self) -> Option<Jump> {
        let (before, then) = self.last_look;
        let (now, passed) = (self.now(), then.elapsed());
        self.last_look = (now, Instant::now());
        let by = now - before - TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        (by.abs() >= TOLERANCE).then(|| Jump { by, to: before + by })
    }
}
