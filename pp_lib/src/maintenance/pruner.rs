//! The purge: what was finished long ago goes, with its events, so that the tables do not grow for ever.
//!
//! One of the services that dispatch does it for all, each hour. The lease that picks it is the timetable as well: it is
//! kept for an hour after a walk through all that is old, so that starting services more often makes no more walks. A
//! walk is made of small batches with as much time between them as they take; that leaves half of whatever they need to
//! others.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::WorkId;
use crate::runtime::{Retry, new_message_id};
use crate::store::{AnyStore, Result};

/// How long after a walk the next one begins.
const EVERY: Duration = Duration::from_secs(3600);
/// How often it is asked whether it is time.
const ASK: Duration = Duration::from_secs(10);
/// How often the lease is extended during a walk; it lasts twice as long.
const TERM: Duration = Duration::from_secs(20);
/// The name of the lease.
const LEASE: &str = "purge";
/// How many works a batch looks at: few at first, then as many as take a moment.
const FIRST: u16 = 100;
const MOST: u16 = 1000;
/// What takes longer may hold up somebody who wants a row of it or, on SQLite, to write at all.
const MOMENT: Duration = Duration::from_millis(50);

/// Purges what was finished longer than `retain` ago, until `shutdown` is cancelled.
pub(super) async fn purge(store: &AnyStore, retain: Duration, shutdown: &CancellationToken) {
    let mut walk = Walk::new(store, retain);
    let mut patience = Retry::new("purging old works");
    let purging = async {
        loop {
            match walk.step().await {
                Ok(pause) => {
                    patience.recovered();
                    sleep(pause).await;
                }
                Err(error) => {
                    // It may have been too much for one statement.
                    walk.batch = (walk.batch / 2).max(1);
                    patience.wait(&error, shutdown).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(purging).await;
    walk.stop().await;
}

/// One walk through the works, and before it the wait until it is time.
struct Walk<'a> {
    store: &'a AnyStore,
    retain: Duration,
    holder: String,
    /// When the lease was taken or extended; not yet while it is somebody else's.
    held: Option<Instant>,
    began: Instant,
    after: WorkId,
    batch: u16,
    works: u64,
    events: u64,
}

impl<'a> Walk<'a> {
    fn new(store: &'a AnyStore, retain: Duration) -> Self {
        Self {
            store,
            retain,
            holder: new_message_id().to_string(),
            held: None,
            began: Instant::now(),
            after: WorkId(0),
            batch: FIRST,
            works: 0,
            events: 0,
        }
    }

    /// Purges a batch if it is time; how long to wait until the next step.
    async fn step(&mut self) -> Result<Duration> {
        if !self.hold().await? {
            self.end();
            return Ok(ASK);
        }
        let began = Instant::now();
        let purged = self.store.purge(self.after, self.retain, self.batch).await?;
        let took = began.elapsed();
        log::trace!("{purged:?} of {} works in {took:?}", self.batch);
        self.works += purged.works;
        self.events += purged.events;
        if let Some(next) = purged.next {
            self.after = next;
            self.batch = sized(self.batch, took);
            return Ok(took);
        }
        self.store.hold(LEASE, &self.holder, EVERY).await?;
        self.end();
        Ok(ASK)
    }

    async fn hold(&mut self) -> Result<bool> {
        if self.held.is_some_and(|held| held.elapsed() < TERM) {
            return Ok(true);
        }
        let now = Instant::now();
        let holds = self.store.hold(LEASE, &self.holder, 2 * TERM).await?;
        self.held = holds.then_some(now);
        Ok(holds)
    }

    /// Says what went. Whoever walks next, this process too, is another one for the lease.
    fn end(&mut self) {
        let (works, events) = (self.works, self.events);
        if works > 0 {
            let took = self.began.elapsed();
            log::info!("{works} works went that were finished long ago, with {events} events, in {took:.1?}");
        }
        *self = Self::new(self.store, self.retain);
    }

    /// Another one need not wait to go on.
    async fn stop(mut self) {
        if self.held.is_some() {
            let released = timeout(Duration::from_secs(1), self.store.release(LEASE, &self.holder)).await;
            if let Ok(Err(error)) = released {
                log::debug!("the lease of the purge runs out by itself: {error}");
            }
        }
        self.end();
    }
}

/// The size of the next batch after one that took so long.
fn sized(batch: u16, took: Duration) -> u16 {
    if took > MOMENT {
        (batch / 2).max(1)
    } else if 2 * took < MOMENT {
        (batch * 2).min(MOST)
    } else {
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_large_as_takes_a_moment() {
        let [quick, right, slow] = [1, 40, 60].map(Duration::from_millis);
        assert_eq!(sized(100, quick), 200);
        assert_eq!(sized(800, quick), MOST);
        assert_eq!(sized(MOST, quick), MOST);
        assert_eq!(sized(100, right), 100);
        assert_eq!(sized(100, slow), 50);
        assert_eq!(sized(1, slow), 1);
    }
}
