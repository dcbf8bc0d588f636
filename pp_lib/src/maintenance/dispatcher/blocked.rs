//! The kinds whose demands the broker did not take lately. Each is tried again after a delay of its own, and the others
//! go on.

use std::collections::HashMap;
use std::time::Duration;

use backon::ExponentialBackoff;
use tokio::time::Instant;

use super::DispatchError;
use crate::broker::BrokerError;
use crate::domain::KindName;
use crate::log_repeated;
use crate::runtime::backoff;

/// The kinds that wait.
#[derive(Debug, Default)]
pub(super) struct Blocked(HashMap<KindName, Waiting>);

#[derive(Debug)]
struct Waiting {
    until: Instant,
    delays: ExponentialBackoff,
}

impl Blocked {
    /// The kinds that are not to be tried now.
    pub(super) fn kinds(&self) -> Vec<KindName> {
        let now = Instant::now();
        let waiting = self.0.iter().filter(|(_, waiting)| waiting.until > now);
        waiting.map(|(kind, _)| kind.clone()).collect()
    }

    /// The time until one of them is tried again.
    pub(super) fn next(&self) -> Option<Duration> {
        let now = Instant::now();
        let waits = self
            .0
            .values()
            .map(|waiting| waiting.until.saturating_duration_since(now));
        waits.filter(|wait| !wait.is_zero()).min()
    }

    /// Notes that a kind's demands were not taken.
    ///
    /// # Errors
    /// No kind's demands are taken now: the broker is away.
    pub(super) fn failed(&mut self, kind: &KindName, error: BrokerError) -> Result<(), DispatchError> {
        match error {
            BrokerError::Rejected(why) => {
                self.not_taken(kind, &why);
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    /// The same for this reason.
    pub(super) fn not_taken(&mut self, kind: &KindName, why: &str) {
        let waiting = self.0.entry(kind.clone()).or_insert_with(|| {
            log_repeated!(Warn, format!("demands of kind {kind} wait"), "{why}");
            Waiting {
                until: Instant::now(),
                delays: backoff(),
            }
        });
        waiting.until = Instant::now() + waiting.delays.next().unwrap_or_default();
    }

    /// Notes that a kind's demands were taken.
    pub(super) fn taken(&mut self, kind: &KindName) {
        if self.0.remove(kind).is_some() {
            log_repeated!(Info, format!("demands of kind {kind} continue"), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kind_waits_alone_and_longer_each_time() {
        let (mail, sms): (KindName, KindName) = ("mail".parse().unwrap(), "sms".parse().unwrap());
        let mut blocked = Blocked::default();
        blocked
            .failed(&mail, BrokerError::Rejected("refused".to_owned()))
            .unwrap();
        assert_eq!(blocked.kinds(), std::slice::from_ref(&mail));
        let first = blocked.next().unwrap();
        tokio::time::sleep(first).await;
        assert_eq!((blocked.kinds(), blocked.next()), (vec![], None));
        for _ in 0..10 {
            blocked.not_taken(&mail, "full");
        }
        assert!(blocked.next().unwrap() > first);
        blocked.taken(&sms);
        assert_eq!(blocked.kinds(), std::slice::from_ref(&mail));
        blocked.taken(&mail);
        assert_eq!(blocked.next(), None);
        let away = BrokerError::Unavailable("away".to_owned());
        assert!(blocked.failed(&sms, away).is_err() && blocked.kinds().is_empty());
    }
}
