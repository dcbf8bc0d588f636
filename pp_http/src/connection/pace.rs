//! The pace at which a client must take its answers.
//!
//! A client that takes nothing at all is the kernel's; see [`crate::socket`]. One that takes a byte now and then would hold
//! its answer for days. Here it gets an allowance of time, which waiting uses up and reading gives back.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::time::{Instant, Sleep, sleep};

/// The time that a client may keep its answers waiting.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The whole allowance.
    most: Duration,
    /// The bytes that give a second back.
    rate: u32,
    /// What is left of it, apart from the current wait.
    left: Duration,
    /// The beginning and the end of the current wait.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Pace {
    pub(crate) fn new(most: Duration, rate: u32) -> Self {
        Self {
            most,
            rate,
            left: most,
            waiting: None,
        }
    }

    /// The client took these bytes.
    pub(super) fn took(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if self.left < self.most {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.left = (self.left + Duration::from_secs(1) * bytes / self.rate).min(self.most);
        }
    }

    /// The client takes nothing now. Ready when its allowance is used up.
    pub(super) fn poll_waits(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let (_, until) = self
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        until.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{advance, timeout};

    use super::*;

    const ALLOWANCE: Duration = Duration::from_secs(30);
    const RATE: u32 = 1024;

    /// Seconds until a client that takes this many bytes every ten seconds has used up its allowance; none within a day.
    async fn ends(bytes: usize) -> Option<u64> {
        let (mut pace, begin) = (Pace::new(ALLOWANCE, RATE), Instant::now());
        while begin.elapsed() < Duration::from_secs(86_400) {
            let step = timeout(Duration::from_secs(10), poll_fn(|cx| pace.poll_waits(cx))).await;
            if step.is_ok() {
                return Some(begin.elapsed().as_secs());
            }
            pace.took(bytes);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_below_the_least_rate_uses_up_its_allowance() {
        assert_eq!(ends(0).await, Some(30));
        assert_eq!(ends(1).await, Some(30));
        // Half of the rate gives back half of each wait.
        assert_eq!(ends(5 * RATE as usize).await, Some(50));
        assert_eq!(ends(10 * RATE as usize).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_an_answer_does_not_count() {
        let mut pace = Pace::new(ALLOWANCE, RATE);
        for _ in 0..100 {
            assert!(poll_fn(|cx| Poll::Ready(pace.poll_waits(cx))).await.is_pending());
            pace.took(1);
            advance(ALLOWANCE).await;
        }
    }
}
