//! How a flow lives through trouble of the infrastructure: it waits in place, longer and longer, and says so once.

use std::fmt::Display;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::log_repeated;
use crate::runtime::Part;

/// What a flow may have to wait for.
pub trait Trouble: Display {
    /// What to tell everybody who asks how the flow is doing; the error's own words are for the log.
    fn told(&self) -> &'static str {
        "it waits for a server"
    }
}

impl Trouble for String {}

/// The trouble of one flow with one server.
pub struct Retry {
    what: &'static str,
    part: Option<Part>,
    waiting: Option<ExponentialBackoff>,
}

impl Retry {
    /// No trouble so far; `what` cannot go on when there is some.
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            part: None,
            waiting: None,
        }
    }

    /// The same, shown on the health pages.
    pub fn shown(what: &'static str, part: Part) -> Self {
        Self {
            part: Some(part),
            ..Self::new(what)
        }
    }

    /// Something failed: logs it when it is new, then waits. Whether to try again: not once `shutdown` is cancelled.
    pub async fn wait(&mut self, error: &impl Trouble, shutdown: &CancellationToken) -> bool {
        let what = self.what;
        if let Some(part) = &self.part {
            part.down(error.told());
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            log_repeated!(Warn, format!("{what} waits"), "{error}");
            backoff()
        });
        let delay = waiting.next().unwrap_or(LONGEST);
        log::debug!("{what} tries again in {delay:?}: {error}");
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = shutdown.cancelled() => false,
        }
    }

    /// Something succeeded.
    pub fn recovered(&mut self) {
        if let Some(part) = &self.part {
            part.up();
        }
        if self.waiting.take().is_some() {
            log_repeated!(Info, format!("{} goes on", self.what), "");
        }
    }
}

const LONGEST: Duration = Duration::from_secs(2);

/// Delays up to [`LONGEST`], without end.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}
