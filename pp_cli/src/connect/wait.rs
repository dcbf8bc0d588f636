//! Waits for a server that is not up yet.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::time::timeout;

use super::StartError;
use crate::config::DurationText;

/// The reason why a server is not used.
pub(super) struct Missed {
    why: String,
    /// It was not there in time.
    is_unavailable: bool,
}

impl Missed {
    /// The error about the variable that names the server.
    pub(super) fn of(self, variable: &str) -> StartError {
        StartError {
            line: format!("{variable}: {}", self.why),
            is_unavailable: self.is_unavailable,
        }
    }
}

/// Retries until it succeeds, fails for good or `max_wait` ends. It logs the first failure and the result.
pub(super) async fn wait_for<T, E, F>(
    server: &str,
    max_wait: Duration,
    connect: impl FnMut() -> F,
    worth_waiting: impl FnMut(&E) -> bool,
) -> Result<T, Missed>
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
    let connected = timeout(max_wait, connected).await;
    let (why, is_unavailable) = match connected {
        Ok(Ok(server)) => return Ok(server),
        Ok(Err(error)) => (error.to_string(), false),
        Err(_) if last.is_empty() => {
            let why = format!("{server} did not answer within {}", DurationText(max_wait));
            (why, true)
        }
        Err(_) => {
            let within = DurationText(max_wait);
            let why = format!("{server} could not be reached within {within}: {last}");
            (why, true)
        }
    };
    Err(Missed { why, is_unavailable })
}
