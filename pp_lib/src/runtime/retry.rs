//! Retries of a background task: it waits in place for ever longer times and logs the trouble once.

use std::fmt::Display;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::log_repeated;
use crate::runtime::Part;

/// An error that a task can wait out.
pub trait Trouble: Display {
    /// A summary for the public health page. The error's text is only for the log.
    fn summary(&self) -> &'static str {
        "it waits for a server"
    }
}

impl Trouble for String {}

/// The trouble of one task with one server.
pub struct Retry {
    what: &'static str,
    part: Option<Part>,
    waiting: Option<ExponentialBackoff>,
}

impl Retry {
    /// A retry without trouble yet. `what` names the task in the log.
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            part: None,
            waiting: None,
        }
    }

    /// A retry that also updates the health page.
    pub fn shown(what: &'static str, part: Part) -> Self {
        Self {
            part: Some(part),
            ..Self::new(what)
        }
    }

    /// Logs an error if it is new, then waits. Answers `false` once `shutdown` is cancelled.
    pub async fn wait(&mut self, error: &impl Trouble, shutdown: &CancellationToken) -> bool {
        let what = self.what;
        if let Some(part) = &self.part {
            part.down(error.summary());
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

    /// Records a success.
    pub fn recovered(&mut self) {
        if let Some(part) = &self.part {
            part.up();
        }
        if self.waiting.take().is_some() {
            log_repeated!(Info, format!("{} continues", self.what), "");
        }
    }
}

const LONGEST: Duration = Duration::from_secs(2);

/// Endless delays of up to [`LONGEST`].
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}
