//! Noticing that the store's clock was set back: it is compared with the time that passed here.

use std::time::Duration;

use tokio::time::Instant;

/// Less is not told from a clock that is being adjusted, and costs no more than this.
const TOLERANCE: Duration = Duration::from_secs(1);

/// What the store's clock said last.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    store: Duration,
    answered: Instant,
}

/// What a reading shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is the first one: what was before is not known.
    First,
    /// Time went on.
    Forward,
    /// The clock was set back, by about this much.
    Back(Duration),
}

impl Clock {
    /// Takes in what the store's clock said, in time since the Unix epoch, when it was asked and when it had answered.
    pub(super) fn read(&mut self, store: Duration, asked: Instant, answered: Instant) -> Shown {
        let Some(last) = self.last.replace(Reading { store, answered }) else {
            return Shown::First;
        };
        // At least so much time passed between the two moments at which the store looked at its clock.
        let expected = last.store + asked.saturating_duration_since(last.answered);
        match expected.checked_sub(store) {
            Some(back) if back > TOLERANCE => Shown::Back(back),
            _ => Shown::Forward,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_told_from_a_slow_answer_and_from_a_jump_ahead() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut clock = Clock::default();
        let mut read = |store: u64, asked: u32, answered: u32| {
            clock.read(
                Duration::from_secs(store),
                begun + second * asked,
                begun + second * answered,
            )
        };
        assert_eq!(read(1_000, 0, 0), Shown::First);
        assert_eq!(read(1_001, 1, 9), Shown::Forward, "it looked at once and answered late");
        assert_eq!(read(1_010, 10, 10), Shown::Forward);
        assert_eq!(read(5_000, 11, 11), Shown::Forward, "a jump ahead");
        assert_eq!(read(1_012, 12, 12), Shown::Back(second * 3_989));
        assert_eq!(read(1_013, 13, 13), Shown::Forward);
        assert_eq!(read(1_013, 14, 14), Shown::Forward, "within what is tolerated");
        assert_eq!(read(1_012, 16, 16), Shown::Back(second * 3));
    }
}
