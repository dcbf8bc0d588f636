//! Restarts tasks after a panic, so that a fault in one of them does not affect others.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::log_repeated;
use crate::runtime::Part;

/// The time before a restart.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a task until it ends, and restarts it after a panic. Its messages are redelivered, or its leases expire.
pub async fn supervise<F>(name: &'static str, part: Part, shutdown: CancellationToken, mut flow: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(panicked) = tokio::spawn(flow()).await {
        log_repeated!(Error, format!("the {name} panicked and restarts"), "{panicked}");
        part.down("it panicked and restarts");
        if shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::runtime::Health;

    #[tokio::test(start_paused = true)]
    async fn a_panicking_task_is_restarted() {
        let runs = Arc::new(AtomicUsize::new(0));
        let (counted, health) = (runs.clone(), Health::new());
        supervise("flow", health.part("flow", true), CancellationToken::new(), move || {
            let runs = counted.clone();
            async move { assert!(runs.fetch_add(1, Ordering::SeqCst) >= 2, "not yet") }
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(!health.report().is_ready());
    }
}
