//! Detects that the store's clock was set back, by comparing it with the time that passed in this process.

use std::time::Duration;

use tokio::time::Instant;

/// The tolerance. A smaller step looks like a clock being adjusted, and delays work by no more than this.
const TOLERANCE: Duration = Duration::from_secs(1);

/// The last reading of the store's clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    store: Duration,
    answered: Instant,
}

/// The result of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// This is the first reading.
    First,
    /// Time went forward.
    Forward,
    /// The clock was set back by about this much.
    Back(Duration),
}

impl Clock {
    /// Records a reading in time since the Unix epoch, with the moments of the question and of the answer.
    pub(super) fn read(&mut self, store: Duration, asked: Instant, answered: Instant) -> Direction {
        let Some(last) = self.last.replace(Reading { store, answered }) else {
            return Direction::First;
        };
        // At least this much time passed between the two readings in the store.
        let expected = last.store + asked.saturating_duration_since(last.answered);
        match expected.checked_sub(store) {
            Some(back) if back > TOLERANCE => Direction::Back(back),
            _ => Direction::Forward,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_is_detected_unlike_a_slow_answer_or_a_jump_ahead() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut clock = Clock::default();
        let mut read = |store: u64, asked: u32, answered: u32| {
            clock.read(
                Duration::from_secs(store),
                begun + second * asked,
                begun + second * answered,
            )
        };
        assert_eq!(read(1_000, 0, 0), Direction::First);
        assert_eq!(
            read(1_001, 1, 9),
            Direction::Forward,
            "it looked at once and answered late"
        );
        assert_eq!(read(1_010, 10, 10), Direction::Forward);
        assert_eq!(read(5_000, 11, 11), Direction::Forward, "a jump ahead");
        assert_eq!(read(1_012, 12, 12), Direction::Back(second * 3_989));
        assert_eq!(read(1_013, 13, 13), Direction::Forward);
        assert_eq!(read(1_013, 14, 14), Direction::Forward, "within what is tolerated");
        assert_eq!(read(1_012, 16, 16), Direction::Back(second * 3));
    }
}
