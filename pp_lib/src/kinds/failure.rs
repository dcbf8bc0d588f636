//! The ways in which an attempt ends without a result.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// An attempt without a result: a failure that is tried again or not, a snooze, or a cancelled work.
///
/// Every error becomes a failure that is tried again, so `?` works on all of them. Like `anyhow::Error`, a `Failure` is no
/// `std::error::Error` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub(crate) ending: Ending,
    reason: String,
}

/// What follows for the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Another attempt, after the given wait or that of the policy, until the attempts are used up.
    Retry(Option<Duration>),
    /// No other attempt: a dead letter.
    Permanent,
    /// Another attempt after this wait. No failure is counted.
    Snooze(Duration),
    /// The work is `cancelled`.
    Cancel,
    /// The run goes on elsewhere: whoever has its token ends it.
    LeftRunning,
}

impl Failure {
    /// Tried again after the wait of the kind's policy, until the attempts are used up.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self::new(Ending::Retry(None), reason)
    }

    /// Tried again after this wait, until the attempts are used up.
    pub fn retry_after(wait: Duration, reason: impl fmt::Display) -> Self {
        Self::new(Ending::Retry(Some(wait)), reason)
    }

    /// Never tried again: the work is `failed` and has a dead letter.
    pub fn permanent(reason: impl fmt::Display) -> Self {
        Self::new(Ending::Permanent, reason)
    }

    /// No failure: the work runs again after this wait, as often as it asks for it.
    pub fn snooze(wait: Duration) -> Self {
        Self::new(Ending::Snooze(wait), "snoozed")
    }

    /// No longer wanted: the work is `cancelled`.
    pub fn cancel(reason: impl fmt::Display) -> Self {
        Self::new(Ending::Cancel, reason)
    }

    /// The work stays `running` until the time limit of its kind, and whoever has the token of the run ends it.
    #[cfg(feature = "push")]
    pub(crate) fn left_running() -> Self {
        Self::new(Ending::LeftRunning, "left running")
    }

    /// The reason, as it stands in the work's `error` and in its events.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// True if the work is not tried again because of this failure alone.
    pub fn is_permanent(&self) -> bool {
        self.ending == Ending::Permanent
    }

    fn new(ending: Ending, reason: impl fmt::Display) -> Self {
        Self {
            ending,
            reason: reason.to_string(),
        }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(text(&*error.into()))
    }
}

/// The error and its causes, unless the error's own text has them.
fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the mail was not sent")]
    struct NotSent(#[source] std::io::Error);

    #[test]
    fn any_error_is_tried_again_with_its_causes() {
        let refused = || std::io::Error::other("connection refused");
        let failed = |result: Result<(), Failure>| result.unwrap_err();
        let of_error = failed((|| Err(NotSent(refused()))?)());
        assert_eq!(of_error.reason(), "the mail was not sent: connection refused");
        assert_eq!(failed((|| Err("no luck")?)()), Failure::retry("no luck"));
        let with_context = anyhow::Error::new(refused()).context("sending");
        assert_eq!(
            failed((|| Err(with_context)?)()).reason(),
            "sending: connection refused"
        );
        assert!(!of_error.is_permanent() && Failure::permanent("no address").is_permanent());
    }
}
