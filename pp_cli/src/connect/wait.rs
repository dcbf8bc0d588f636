//! Waits for a server that is not up yet.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::time::timeout;

use crate::config::DurationText;

/// Retries until it succeeds, fails for good or `max_wait` ends. It logs the first failure and the result.
pub(super) async fn wait_for<T, E, F>(
    server: &str,
    max_wait: Duration,
    connect: impl FnMut() -> F,
    worth_waiting: impl FnMut(&E) -> bool,
) -> Result<T, String>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let backoff = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    let mut last = String::new();
    let connected = connect.retry(backoff).when(worth_waiting).notify(|error, _| {
        if last.is_empty() {
            log::info!("waiting for {server}, at most {}: {error}", DurationText(max_wait));
        }
        last = error.to_string();
    });
    match timeout(max_wait, connected).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) if last.is_empty() => Err(format!("{server} did not answer within {}", DurationText(max_wait))),
        Err(_) => Err(format!(
            "{server} could not be reached within {}: {last}",
            DurationText(max_wait)
        )),
    }
}
