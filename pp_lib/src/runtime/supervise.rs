//! Flows that go on: one that ends by a panic is a fault of this program, which others must not suffer from.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::log_repeated;
use crate::runtime::Part;

/// How long a flow stays down after a panic.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a flow until it ends by itself; after a panic it starts anew. What it had taken up is redelivered, or its lease
/// runs out.
pub async fn supervise<F>(name: &'static str, part: Part, shutdown: CancellationToken, mut flow: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(panicked) = tokio::spawn(flow()).await {
        log_repeated!(Error, format!("the {name} ended and starts anew"), "{panicked}");
        part.down("it ended by a fault of its own and starts anew");
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
    async fn a_flow_that_panics_starts_anew() {
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
