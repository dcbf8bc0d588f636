//! The purge, which removes old finished works and their events.
//!
//! One of the dispatching services does it for all kinds, every hour; one of the APIs does it for the kinds that workers
//! claim. A lease chooses it, and is the timetable too: after a walk through all old rows the lease is kept for an hour,
//! so that frequent restarts cause no more walks. A walk consists of small batches with equally long pauses, which leave
//! half of the resources to others.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::WorkId;
use crate::kinds::{Delivery, KnownKind};
use crate::runtime::{Retry, new_message_id};
use crate::store::{AnyStore, Result, RetentionTimes};

/// The time from the end of a walk to the next one.
const INTERVAL: Duration = Duration::from_secs(3600);
/// The interval of attempts to take the lease.
const LEASE_INTERVAL: Duration = Duration::from_secs(10);
/// The interval of extensions during a walk. The lease lasts twice as long.
const EXTENSION_INTERVAL: Duration = Duration::from_secs(20);
/// The usual time for which finished works are kept.
const RETAIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// The number of works in a batch: small at first, then as many as take [`MAX_BATCH_TIME`].
const FIRST_BATCH: u16 = 100;
const MAX_BATCH: u16 = 1000;
/// The longest duration of a batch. A longer one delays others that need its rows or, on SQLite, any write.
const MAX_BATCH_TIME: Duration = Duration::from_millis(50);

/// The works that a purge is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// Those of all kinds; this long where a kind says nothing.
    All(Duration),
    /// Those of kinds that workers claim, whose system may have no dispatching service.
    Pulled,
}

impl Scope {
    /// The name of the lease.
    fn lease(self) -> &'static str {
        match self {
            Self::All(_) => "purge",
            Self::Pulled => "purge of pulled kinds",
        }
    }
}

/// Purges works finished longer ago than their kind is kept, until `shutdown` is cancelled.
pub(super) async fn purge(store: &AnyStore, scope: Scope, shutdown: &CancellationToken) {
    let mut walk = Walk::new(store, scope);
    let mut retry = Retry::new("purging old works");
    let purging = async {
        loop {
            match walk.step().await {
                Ok(pause) => {
                    retry.recovered();
                    sleep(pause).await;
                }
                Err(error) => {
                    // The batch may have been too large for one statement.
                    walk.batch = (walk.batch / 2).max(1);
                    retry.wait(&error, shutdown).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(purging).await;
    walk.stop().await;
}

/// One walk through the works, and the wait before it.
struct Walk<'a> {
    store: &'a AnyStore,
    scope: Scope,
    holder: String,
    /// The times for this walk, from its first step on.
    times: Option<RetentionTimes>,
    /// The time the lease was taken or extended; `None` while another process has it.
    held: Option<Instant>,
    began: Instant,
    after: WorkId,
    batch: u16,
    works: u64,
    events: u64,
}

impl<'a> Walk<'a> {
    fn new(store: &'a AnyStore, scope: Scope) -> Self {
        Self {
            store,
            scope,
            holder: new_message_id().to_string(),
            times: None,
            held: None,
            began: Instant::now(),
            after: WorkId(0),
            batch: FIRST_BATCH,
            works: 0,
            events: 0,
        }
    }

    /// Purges a batch if it is time. Answers the pause before the next step.
    async fn step(&mut self) -> Result<Duration> {
        let times = match self.times.take() {
            Some(times) => times,
            None => retention_times(self.store, self.scope).await?,
        };
        // A process that keeps everything leaves the lease to others.
        if times.shortest() == Duration::MAX || !self.hold().await? {
            self.end();
            return Ok(LEASE_INTERVAL);
        }
        let began = Instant::now();
        let purged = self.store.purge(self.after, &times, self.batch).await?;
        let took = began.elapsed();
        log::trace!("{purged:?} of {} works in {took:?}", self.batch);
        self.works += purged.works;
        self.events += purged.events;
        if let Some(next) = purged.next {
            self.after = next;
            self.times = Some(times);
            self.batch = sized(self.batch, took);
            return Ok(took);
        }
        self.store.hold(self.scope.lease(), &self.holder, INTERVAL).await?;
        self.end();
        Ok(LEASE_INTERVAL)
    }

    async fn hold(&mut self) -> Result<bool> {
        if self.held.is_some_and(|held| held.elapsed() < EXTENSION_INTERVAL) {
            return Ok(true);
        }
        let now = Instant::now();
        let lease = self.scope.lease();
        let holds = self.store.hold(lease, &self.holder, 2 * EXTENSION_INTERVAL).await?;
        self.held = holds.then_some(now);
        Ok(holds)
    }

    /// Logs the result. The next walk has a new owner of the lease, even in this process.
    fn end(&mut self) {
        let (works, events) = (self.works, self.events);
        if works > 0 {
            let took = self.began.elapsed();
            log::info!("purged {works} works and {events} events in {took:.1?}");
        }
        *self = Self::new(self.store, self.scope);
    }

    /// Releases the lease, so that another process can continue at once.
    async fn stop(mut self) {
        if self.held.is_some() {
            let release = self.store.release(self.scope.lease(), &self.holder);
            let released = timeout(Duration::from_secs(1), release).await;
            if let Ok(Err(error)) = released {
                log::debug!("the lease of the purge was not released and expires: {error}");
            }
        }
        self.end();
    }
}

/// The times for which works are kept, by the policies of their kinds.
async fn retention_times(store: &AnyStore, scope: Scope) -> Result<RetentionTimes> {
    let default = match scope {
        Scope::All(default) => default,
        Scope::Pulled => Duration::MAX,
    };
    let time = |kind: &KnownKind| match (scope, kind.delivery) {
        (Scope::All(default), _) => kind.policy.retention.or(default),
        (Scope::Pulled, Delivery::Pull) => kind.policy.retention.or(RETAIN),
        (Scope::Pulled, Delivery::Queue | Delivery::Push) => Duration::MAX,
    };
    let kinds = store.kinds().await?.into_iter().map(KnownKind::of_row);
    let by_kind = kinds.map(|kind| (kind.name().clone(), time(&kind)));
    Ok(RetentionTimes {
        default,
        by_kind: by_kind.filter(|(_, time)| *time != default).collect(),
    })
}

/// The size of the next batch after one of this duration.
fn sized(batch: u16, took: Duration) -> u16 {
    if took > MAX_BATCH_TIME {
        (batch / 2).max(1)
    } else if 2 * took < MAX_BATCH_TIME {
        (batch * 2).min(MAX_BATCH)
    } else {
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_size_adapts_to_its_duration() {
        let [quick, right, slow] = [1, 40, 60].map(Duration::from_millis);
        assert_eq!(sized(100, quick), 200);
        assert_eq!(sized(800, quick), MAX_BATCH);
        assert_eq!(sized(MAX_BATCH, quick), MAX_BATCH);
        assert_eq!(sized(100, right), 100);
        assert_eq!(sized(100, slow), 50);
        assert_eq!(sized(1, slow), 1);
    }
}
