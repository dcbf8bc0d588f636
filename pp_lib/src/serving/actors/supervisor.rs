//! Keeps an actor's loop running: after a panic it is started again, later and later while it keeps panicking.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use crate::log_repeated;

const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// A loop that can be entered again after a panic, with what it holds.
pub(super) trait Supervised: Send {
    /// For log lines.
    fn name(&self) -> &'static str;

    /// Runs until there is nothing left to do.
    fn run(&mut self) -> impl Future<Output = ()> + Send;
}

/// Runs the loop to its end, however often it panics.
pub(super) async fn supervise(mut actor: impl Supervised) {
    let mut delay = FIRST_DELAY;
    loop {
        let started = Instant::now();
        let Err(panic) = AssertUnwindSafe(actor.run()).catch_unwind().await else {
            return;
        };
        if started.elapsed() > LONGEST_DELAY {
            delay = FIRST_DELAY;
        }
        let (name, why) = (actor.name(), text_of(panic.as_ref()));
        log_repeated!(
            Error,
            name,
            "panicked ({why}), starts again in {} ms",
            delay.as_millis()
        );
        sleep(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clumsy(Vec<Instant>);

    impl Supervised for &mut Clumsy {
        fn name(&self) -> &'static str {
            "clumsy"
        }

        async fn run(&mut self) {
            self.0.push(Instant::now());
            assert!(self.0.len() > 3, "run {}", self.0.len());
        }
    }

    #[tokio::test]
    async fn a_loop_that_panics_runs_again_later_and_later() {
        let mut clumsy = Clumsy(Vec::new());
        supervise(&mut clumsy).await;
        let pauses: Vec<_> = clumsy.0.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses.len(), 3);
        assert!(
            pauses
                .iter()
                .zip([10, 20, 40])
                .all(|(pause, least)| pause.as_millis() >= least),
            "{pauses:?}"
        );
    }
}
