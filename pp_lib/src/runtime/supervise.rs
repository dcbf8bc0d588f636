//! The one restart loop: a part of the program that panics starts again, later and later while it keeps panicking. Other
//! parts do not suffer from its fault.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::log_repeated;
use crate::runtime::Part;

const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Runs a loop over `state` until it ends by itself or `shutdown` is cancelled between two runs. `part` shows a panic on
/// the health pages, until the loop reports itself up again.
pub async fn supervise<S: Send>(
    name: &'static str,
    part: Option<Part>,
    shutdown: CancellationToken,
    mut state: S,
    run: impl for<'a> Fn(&'a mut S) -> BoxFuture<'a, ()> + Send,
) {
    let mut delay = FIRST_DELAY;
    loop {
        let started = Instant::now();
        let Err(panic) = AssertUnwindSafe(run(&mut state)).catch_unwind().await else {
            return;
        };
        if started.elapsed() > LONGEST_DELAY {
            delay = FIRST_DELAY;
        }
        let (why, milliseconds) = (panic_text(panic.as_ref()), delay.as_millis());
        log_repeated!(Error, name, "panicked ({why}), starts again in {milliseconds} ms");
        if let Some(part) = &part {
            part.down("it panicked and starts again");
        }
        if shutdown.run_until_cancelled(sleep(delay)).await.is_none() {
            return;
        }
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// Runs a part of the program, which has its own line on the health pages, as [`supervise`] does.
pub async fn supervise_part<F: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    part: Part,
    shutdown: CancellationToken,
    run: impl Fn(Part, CancellationToken) -> F + Send,
) {
    let (own_part, own_shutdown) = (part.clone(), shutdown.clone());
    supervise(name, Some(part), shutdown, (), move |()| {
        run(own_part.clone(), own_shutdown.clone()).boxed()
    })
    .await;
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Health;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_starts_again_later_and_later() {
        let (health, mut runs) = (Health::new(), Vec::new());
        let part = health.part("loop", true);
        let run = |runs: &mut Vec<Instant>| {
            runs.push(Instant::now());
            let count = runs.len();
            async move { assert!(count > 3, "not yet") }.boxed()
        };
        supervise("loop", Some(part), CancellationToken::new(), &mut runs, |runs| {
            run(runs)
        })
        .await;
        let pauses: Vec<u128> = runs.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40]);
        assert!(!health.report().is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_the_restarts() {
        let (shutdown, mut runs) = (CancellationToken::new(), 0);
        let stop = shutdown.clone();
        supervise("loop", None, shutdown, &mut runs, |runs| {
            **runs += 1;
            stop.cancel();
            async { panic!("again") }.boxed()
        })
        .await;
        assert_eq!(runs, 1);
    }
}
