//! From rows that are due to messages: claim, publish, and after the confirmation say that they were sent.
//!
//! Dying between any two of these steps costs a second message at most, which then finds its row finished.

mod clock;
mod send;

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::clock::{Clock, Shown};
use crate::broker::{AnyBroker, BrokerError, Queue};
use crate::feed::AnyFeed;
use crate::log_repeated;
use crate::maintenance::pruner::purge;
use crate::maintenance::rollup::fold_views;
use crate::runtime::Part;
use crate::runtime::{Retry, Trouble};
use crate::store::{AnyStore, StoreError};

/// How long a claimed row is nobody else's: a little longer than the broker has to confirm it, since this is how long
/// the rows of a dispatcher that dies have to wait.
const HOLD: Duration = Duration::from_secs(12);
/// How many rows are claimed and published, or rescued, together.
const BATCH: u16 = 1000;
/// How often works are rescued and dead messages sent again where pokes follow each other.
const CHORES: Duration = Duration::from_millis(100);
/// Rows that fall due one after the other are looked for together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// How long a stop waits for what is being sent.
const LAST_ROUND: Duration = Duration::from_secs(3);
/// How often older rows and lost messages are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// How often it is asked whether the store's clock was set back.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);
/// How many rows that wait a sweep looks at, in case a clock was set back unnoticed.
const SWEPT_WAITS: u32 = 10_000;

/// How due rows are found.
#[derive(Clone, Debug)]
pub struct DispatchSettings {
    /// How far back the frequent look goes; a sweep every minute takes what is older.
    pub within: Duration,
    /// How long to wait at most for a wake-up before looking anyway.
    pub poll: Duration,
    /// How often a work may lose its worker before it is given up.
    pub max_lost_leases: i32,
    /// How long finished works stay; for ever when there is none.
    pub retain: Option<Duration>,
}

/// Sends what is due and takes back what was lost.
pub struct Dispatcher {
    store: AnyStore,
    broker: AnyBroker,
    feed: AnyFeed,
    settings: DispatchSettings,
}

/// Why a round of dispatching failed.
#[derive(Debug, thiserror::Error)]
enum DispatchError {
    /// The store's trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker's trouble.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The broker took some messages and not others.
    #[error("{0} of {1} messages were not taken by the broker")]
    NotTaken(usize, usize),
}

impl Trouble for DispatchError {
    fn told(&self) -> &'static str {
        match self {
            Self::Store(error) => error.told(),
            Self::Broker(error) => error.told(),
            Self::NotTaken(..) => "the broker did not take all messages",
        }
    }
}

/// Whether the last look left anything that is due.
enum Due {
    /// Nothing, and for how long unless something new comes.
    Nothing { pause: Duration },
    /// Very likely.
    More,
}

/// What is done now and then, and when next.
struct Timetable {
    /// Whether what the broker held has to be taken for lost first.
    forgotten: bool,
    /// What the store's clock said, and when to look again.
    clock: Clock,
    next_look: Instant,
    next_sweep: Instant,
    next_chores: Instant,
    /// Whether the last pause was ended by a poke.
    poked: bool,
}

type Result<T> = std::result::Result<T, DispatchError>;

impl Dispatcher {
    /// A dispatcher; several may work side by side.
    pub fn new(store: AnyStore, broker: AnyBroker, feed: AnyFeed, settings: DispatchSettings) -> Self {
        Self {
            store,
            broker,
            feed,
            settings,
        }
    }

    /// Dispatches until `shutdown` is cancelled; `part` shows whether it can. The counters are folded meanwhile, and
    /// what is old is purged.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let purging = async {
            if let Some(retain) = self.settings.retain {
                purge(&self.store, retain, &shutdown).await;
            }
        };
        tokio::join!(
            self.dispatch(part, &shutdown),
            fold_views(&self.store, &shutdown),
            purging
        );
    }

    async fn dispatch(&self, part: Part, shutdown: &CancellationToken) {
        let mut patience = Retry::shown("dispatching", part);
        let mut pokes = self.feed.listen();
        let mut timetable = Timetable {
            // What a broker in memory held ended with the process that held it.
            forgotten: !self.broker.durable(),
            clock: Clock::default(),
            next_look: Instant::now(),
            next_sweep: Instant::now(),
            next_chores: Instant::now(),
            poked: false,
        };
        while let Some(outcome) = self.round_or_stop(&mut timetable, shutdown).await {
            match outcome {
                Ok(Due::More) => patience.recovered(),
                Ok(Due::Nothing { pause }) => {
                    patience.recovered();
                    timetable.poked = tokio::select! {
                        () = pokes.changed() => true,
                        () = sleep(pause) => false,
                        () = shutdown.cancelled() => break,
                    }
                }
                Err(error) => {
                    patience.wait(&error, shutdown).await;
                }
            }
        }
        if !self.broker.durable() {
            self.take_back().await;
        }
    }

    /// One round; `None` when it is time to stop.
    async fn round_or_stop(&self, timetable: &mut Timetable, shutdown: &CancellationToken) -> Option<Result<Due>> {
        if shutdown.is_cancelled() {
            return None;
        }
        let mut round = pin!(self.round(timetable, shutdown));
        tokio::select! {
            outcome = &mut round => Some(outcome),
            () = shutdown.cancelled() => {
                // What is claimed is still sent. Where there is no room for it, the claims run out.
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
            self.look_at_clock(&mut timetable.clock).await?;
            timetable.next_look = Instant::now() + LOOK_AT_CLOCK;
        }
        if Instant::now() >= timetable.next_sweep {
            self.sweep(shutdown).await?;
            timetable.next_sweep = Instant::now() + SWEEP;
        }
        // A poke may come every few milliseconds, and mostly tells of new works.
        let skipped = timetable.poked && Instant::now() < timetable.next_chores;
        if !skipped {
            self.rescue().await?;
            self.send_redriven().await?;
            timetable.next_chores = Instant::now() + CHORES;
        }
        if !self.send_due(Some(self.settings.within), shutdown).await? {
            return Ok(Due::More);
        }
        let pause = self.idle_for().await?;
        let until_chores = timetable.next_chores - Instant::now();
        Ok(Due::Nothing {
            pause: if skipped { pause.min(until_chores) } else { pause },
        })
    }

    /// How long there is nothing to do unless something new comes: until the next row falls due, be it for its time, for
    /// a retry or for the end of its lease.
    async fn idle_for(&self) -> Result<Duration> {
        let next = self.store.next_due().await?;
        Ok(next.map_or(self.settings.poll, |next| {
            next.clamp(SHORTEST_PAUSE, self.settings.poll)
        }))
    }

    /// Takes due rows of any age, and rows whose messages must be lost: they were sent a while ago, and the queue has
    /// nothing that waits. Those that are with a worker right now are sent twice, which does no harm.
    async fn sweep(&self, shutdown: &CancellationToken) -> Result<()> {
        if self.broker.ready_messages(Queue::Demand).await? == 0 {
            let released = self.store.release_sent(SWEEP).await?;
            if released > 0 {
                log::info!("{released} works that were sent and not heard of are sent again");
            }
        }
        self.shorten_waits(Some(SWEPT_WAITS)).await?;
        while !self.send_due(None, shutdown).await? {
            self.rescue().await?;
        }
        Ok(())
    }

    /// A clock that was set back, while this program ran or before it started, makes nothing wait longer than it would
    /// have waited anyway.
    async fn look_at_clock(&self, clock: &mut Clock) -> Result<()> {
        let asked = Instant::now();
        let reading = self.store.clock().await?;
        match clock.read(reading, asked, Instant::now()) {
            Shown::Forward => Ok(()),
            Shown::First => self.shorten_waits(None).await,
            Shown::Back(back) => {
                log::warn!("the database's clock was set back by {} s", back.as_secs());
                self.shorten_waits(None).await
            }
        }
    }

    async fn shorten_waits(&self, most: Option<u32>) -> Result<()> {
        let shortened = self.store.shorten_waits(most).await?;
        if shortened > 0 {
            log::info!(
                "{shortened} works and leases waited by a clock that was set back; they wait no longer than before"
            );
        }
        Ok(())
    }

    /// What was in a queue in memory when the process ended without a word may be why it did: that is counted, so that
    /// it is not taken up for ever.
    async fn lose_sent(&self) -> Result<()> {
        let lost = self.store.lose_sent(self.settings.max_lost_leases).await?;
        if lost > 0 {
            log::warn!("{lost} works were in the queue when the last process ended; they are sent again");
        }
        Ok(())
    }

    /// The end of a queue in memory that everybody knows of: what it holds is not lost, and due at the next start.
    async fn take_back(&self) {
        match self.store.release_sent(Duration::ZERO).await {
            Ok(released) => log::debug!("{released} works in the queue are due at the next start"),
            Err(error) => log::warn!("works in the queue were not taken back: {error}"),
        }
    }

    async fn rescue(&self) -> Result<()> {
        let rescued = self.store.rescue(self.settings.max_lost_leases, BATCH).await?;
        if rescued > 0 {
            log_repeated!(Warn, "works lost their worker", "{rescued} of them");
        }
        Ok(())
    }
}
