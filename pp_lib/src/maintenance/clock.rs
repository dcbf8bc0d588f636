//! Detects that the store's clock was set back, by comparing it with the time that passed in this process, and shortens
//! the waits that became too long.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::{AnyStore, Result};

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
enum Direction {
    /// This is the first reading.
    First,
    /// Time went forward.
    Forward,
    /// The clock was set back by about this much.
    Back(Duration),
}

impl Clock {
    /// Shortens waits after the clock was set back, during this process or before it, so that no row waits longer than
    /// its own delay.
    pub(super) async fn check(&mut self, store: &AnyStore) -> Result<()> {
        let asked = Instant::now();
        let reading = store.clock().await?;
        match self.read(reading, asked, Instant::now()) {
            Direction::Forward => Ok(()),
            Direction::First => shorten_waits(store, None).await,
            Direction::Back(back) => {
                log::warn!("the database's clock was set back by {} s", back.as_secs());
                shorten_waits(store, None).await
            }
        }
    }

    /// Records a reading in time since the Unix epoch, with the moments of the question and of the answer.
    fn read(&mut self, store: Duration, asked: Instant, answered: Instant) -> Direction {
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

/// Shortens waits that became too long: those of all waiting rows, or of the first `most`.
pub(super) async fn shorten_waits(store: &AnyStore, most: Option<u32>) -> Result<()> {
    let shortened = store.shorten_waits(most).await?;
    if shortened > 0 {
        log::info!(
            "{shortened} works and leases waited too long after the clock was set back; their waits were shortened"
        );
    }
    Ok(())
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
