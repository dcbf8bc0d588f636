//! The dispatcher, which turns due rows into messages: it claims rows, publishes them, and marks them after the
//! confirmation.
//!
//! A crash between two of these steps causes at most a second message, whose row is then already completed.

mod blocked;
mod send;

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::blocked::Blocked;
use crate::broker::{AnyBroker, BrokerError, Queue};
use crate::feed::AnyFeed;
use crate::maintenance::clock::{Clock, shorten_waits};
use crate::maintenance::pruner::{Scope, purge};
use crate::maintenance::rollup::roll_up_views;
use crate::maintenance::upkeep::rescue;
use crate::runtime::{Part, Retry, Trouble};
use crate::store::{AnyStore, StoreError};

/// The time a claim lasts. It is slightly longer than the broker's time for a confirmation, because the rows of a
/// crashed dispatcher wait this long.
const CLAIM_TIME: Duration = Duration::from_secs(12);
/// The number of rows claimed, published or rescued together.
const BATCH: u16 = 1000;
/// The interval of rescues and redrives while pokes follow each other.
const CHORE_INTERVAL: Duration = Duration::from_millis(100);
/// The shortest pause, so that rows that fall due one after the other are found together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// The time a stop waits for messages being sent.
const LAST_ROUND: Duration = Duration::from_secs(3);
/// The interval of sweeps, which find older rows and lost messages.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The interval of checks of the store's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// The number of waiting rows checked by a sweep, in case the clock was set back unnoticed.
const SWEPT_WAITS: u32 = 10_000;

/// The settings of the dispatcher.
#[derive(Clone, Debug)]
pub struct DispatchSettings {
    /// The age up to which frequent searches find due rows. A sweep every minute finds older ones.
    pub within: Duration,
    /// The longest wait for a wake-up before the next search.
    pub poll: Duration,
    /// The number of lost leases after which a work is given up.
    pub max_lost_leases: i32,
    /// The retention of finished works whose kind sets none; [`Duration::MAX`] keeps them for ever.
    pub retain: Duration,
}

/// Sends due rows and takes back lost ones.
pub struct Dispatcher {
    store: AnyStore,
    broker: AnyBroker,
    feed: AnyFeed,
    settings: DispatchSettings,
}

#[derive(Debug, thiserror::Error)]
enum DispatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Trouble for DispatchError {
    fn summary(&self) -> &'static str {
        match self {
            Self::Store(error) => error.summary(),
            Self::Broker(error) => error.summary(),
        }
    }
}

/// The result of a search for due rows.
enum Due {
    /// There are none for this long, unless new ones come.
    Nothing { pause: Duration },
    /// There are probably more.
    More,
}

/// The next times of periodic tasks.
struct Timetable {
    /// True if the messages of the previous process must be marked as lost first.
    forgotten: bool,
    /// The last reading of the store's clock, and the time of the next one.
    clock: Clock,
    next_look: Instant,
    next_sweep: Instant,
    next_chores: Instant,
    /// True if a poke ended the last pause.
    poked: bool,
    /// The kinds whose demands were not taken lately.
    blocked: Blocked,
}

type Result<T> = std::result::Result<T, DispatchError>;

impl Dispatcher {
    /// A dispatcher. Several may run side by side.
    pub fn new(store: AnyStore, broker: AnyBroker, feed: AnyFeed, settings: DispatchSettings) -> Self {
        Self {
            store,
            broker,
            feed,
            settings,
        }
    }

    /// Dispatches until `shutdown` is cancelled. `part` shows its health. It also rolls up counters and purges old
    /// rows.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        tokio::join!(
            self.dispatch(part, &shutdown),
            roll_up_views(&self.store, &shutdown),
            purge(&self.store, Scope::All(self.settings.retain), &shutdown)
        );
    }

    async fn dispatch(&self, part: Part, shutdown: &CancellationToken) {
        let mut retry = Retry::shown("dispatching", part);
        let mut pokes = self.feed.listen();
        let mut timetable = Timetable {
            // The messages of a broker in memory ended with its process.
            forgotten: !self.broker.durable(),
            clock: Clock::default(),
            next_look: Instant::now(),
            next_sweep: Instant::now(),
            next_chores: Instant::now(),
            poked: false,
            blocked: Blocked::default(),
        };
        while let Some(outcome) = self.round_or_stop(&mut timetable, shutdown).await {
            match outcome {
                Ok(Due::More) => retry.recovered(),
                Ok(Due::Nothing { pause }) => {
                    retry.recovered();
                    timetable.poked = tokio::select! {
                        () = pokes.changed() => true,
                        () = sleep(pause) => false,
                        () = shutdown.cancelled() => break,
                    }
                }
                Err(error) => {
                    retry.wait(&error, shutdown).await;
                }
            }
        }
        if !self.broker.durable() {
            self.take_back().await;
        }
    }

    /// Runs one round. `None` means that the stop has come.
    async fn round_or_stop(&self, timetable: &mut Timetable, shutdown: &CancellationToken) -> Option<Result<Due>> {
        if shutdown.is_cancelled() {
            return None;
        }
        let mut round = pin!(self.round(timetable, shutdown));
        tokio::select! {
            outcome = &mut round => Some(outcome),
            () = shutdown.cancelled() => {
                // Claimed rows are still sent. If the broker has no room, the claims expire.
                let _ = timeout(LAST_ROUND, round).await;
                None
            }
        }
    }

    async fn round(&self, timetable: &mut Timetable, shutdown: &CancellationToken) -> Result<Due> {
        if timetable.forgotten {
            self.lose_sent().await?;
            timetable.forgotten = false;
        }
        if Instant::now() >= timetable.next_look {
            timetable.clock.check(&self.store).await?;
            timetable.next_look = Instant::now() + CLOCK_INTERVAL;
        }
        if Instant::now() >= timetable.next_sweep {
            self.sweep(&mut timetable.blocked, shutdown).await?;
            timetable.next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
        // Pokes may come every few milliseconds, mostly for new works.
        let skipped = timetable.poked && Instant::now() < timetable.next_chores;
        if !skipped {
            self.rescue().await?;
            self.send_redriven(&mut timetable.blocked).await?;
            timetable.next_chores = Instant::now() + CHORE_INTERVAL;
        }
        let within = Some(self.settings.within);
        if !self.send_due(&mut timetable.blocked, within, shutdown).await? {
            return Ok(Due::More);
        }
        let pause = self.idle_for(&mut timetable.blocked).await?;
        let until_chores = timetable.next_chores - Instant::now();
        Ok(Due::Nothing {
            pause: if skipped { pause.min(until_chores) } else { pause },
        })
    }

    /// The time until the next row is due, because of its start time, a retry or the end of its lease.
    async fn idle_for(&self, blocked: &mut Blocked) -> Result<Duration> {
        let next = self.store.next_due(&blocked.kinds()).await?;
        let next = [next, blocked.next()].into_iter().flatten().min();
        Ok(next.map_or(self.settings.poll, |next| {
            next.clamp(SHORTEST_PAUSE, self.settings.poll)
        }))
    }

    /// Finds due rows of any age, and rows whose messages must be lost because they were sent a while ago and the queue
    /// of their kind is empty. A row that a worker is running is sent twice, which does no harm.
    async fn sweep(&self, blocked: &mut Blocked, shutdown: &CancellationToken) -> Result<()> {
        for kind in self.store.pending_kinds().await? {
            match self.broker.ready_messages(&Queue::Demand(kind.clone())).await {
                Ok(0) => {
                    let released = self.store.release_sent(&kind, SWEEP_INTERVAL).await?;
                    if released > 0 {
                        log::info!("{released} works of kind {kind} were sent without a result and are sent again");
                    }
                }
                Ok(_) => {}
                Err(error) => blocked.failed(&kind, error)?,
            }
        }
        shorten_waits(&self.store, Some(SWEPT_WAITS)).await?;
        while !self.send_due(blocked, None, shutdown).await? {
            self.rescue().await?;
        }
        Ok(())
    }

    /// Marks the works in the queue as lost after a crash. A work may have caused the crash, so this counts as a lost
    /// lease and ends after a limit.
    async fn lose_sent(&self) -> Result<()> {
        let lost = self.store.lose_sent(self.settings.max_lost_leases).await?;
        if lost > 0 {
            log::warn!("{lost} works were in the queue when the last process ended; they are sent again");
        }
        Ok(())
    }

    /// Takes back the works in memory at a regular end. They are not lost, and are due at the next start.
    async fn take_back(&self) {
        match self.release_all().await {
            Ok(released) => log::debug!("{released} works in the queue are due at the next start"),
            Err(error) => log::warn!("works in the queue were not taken back: {error}"),
        }
    }

    async fn release_all(&self) -> Result<u64> {
        let mut released = 0;
        for kind in self.store.pending_kinds().await? {
            released += self.store.release_sent(&kind, Duration::ZERO).await?;
        }
        Ok(released)
    }

    async fn rescue(&self) -> Result<()> {
        Ok(rescue(&self.store, &self.feed, self.settings.max_lost_leases).await?)
    }
}
