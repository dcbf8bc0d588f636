//! From rows that are due to messages: claim, publish, and after the confirmation say that they were sent.
//!
//! Dying between any two of these steps costs a second message at most, which then finds its row settled.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Patience, Trouble};
use crate::broker::{AnyBroker, BrokerError, Outgoing, Published, Queue};
use crate::domain::{DemandedRow, WorkDemand};
use crate::feed::AnyFeed;
use crate::health::Part;
use crate::store::{AnyStore, Claim, Redriven, StoreError};

/// How long a claimed row is nobody else's: a little longer than the broker has to confirm it, since this is how long
/// the rows of a dispatcher that dies have to wait.
const HOLD: Duration = Duration::from_secs(12);
/// How many rows are claimed and published together.
const BATCH: u16 = 1000;
/// How many dead messages are sent again together; they may be large.
const REDRIVEN_BATCH: u16 = 20;
/// How many batches are sent before anything else is looked after.
const BATCHES_IN_A_ROW: usize = 20;
/// How long a stop waits for what is being sent.
const LAST_ROUND: Duration = Duration::from_secs(3);
/// How often older rows and lost messages are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// How due rows are found.
#[derive(Clone, Debug)]
pub struct DispatchSettings {
    /// How far back the frequent look goes; a sweep every minute takes what is older.
    pub within: Duration,
    /// How long to wait for a wake-up before looking anyway.
    pub poll: Duration,
    /// How often a work may lose its worker before it is given up.
    pub max_lost_leases: i32,
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
    Nothing,
    More,
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

    /// Dispatches until `shutdown` is cancelled; `part` shows whether it can.
    pub async fn run(self, part: Part, shutdown: CancellationToken) {
        let mut patience = Patience::shown("dispatching", part);
        let mut pokes = self.feed.listen();
        let mut next_sweep = Instant::now();
        // What a broker in memory held ended with the process that held it.
        let mut forgotten = !self.broker.durable();
        while !shutdown.is_cancelled() {
            let round = async {
                if forgotten {
                    self.lose_sent().await?;
                    forgotten = false;
                }
                if Instant::now() >= next_sweep {
                    self.sweep(&shutdown).await?;
                    next_sweep = Instant::now() + SWEEP;
                }
                self.rescue().await?;
                self.send_redriven().await?;
                self.send_due(Some(self.settings.within), &shutdown).await
            };
            let mut round = pin!(round);
            let outcome = tokio::select! {
                outcome = &mut round => outcome,
                () = shutdown.cancelled() => {
                    // What is claimed is still sent. Where there is no room for it, the claims run out.
                    let _ = timeout(LAST_ROUND, round).await;
                    break;
                }
            };
            match outcome {
                Ok(Due::More) => patience.recovered(),
                Ok(Due::Nothing) => {
                    patience.recovered();
                    tokio::select! {
                        () = pokes.changed() => {}
                        () = sleep(self.settings.poll) => {}
                        () = shutdown.cancelled() => break,
                    }
                }
                Err(error) => {
                    patience.wait(&error, &shutdown).await;
                }
            }
        }
        if !self.broker.durable() {
            self.take_back().await;
        }
    }

    /// Sends what is due and fell due `within` that time, if given; not all of a long backlog at once, so that rescue
    /// and sweep have their turns.
    async fn send_due(&self, within: Option<Duration>, shutdown: &CancellationToken) -> Result<Due> {
        for _ in 0..BATCHES_IN_A_ROW {
            if shutdown.is_cancelled() {
                return Ok(Due::Nothing);
            }
            let claims = self.store.claim(within, HOLD, BATCH).await?;
            if claims.is_empty() {
                return Ok(Due::Nothing);
            }
            self.send(&claims).await?;
        }
        Ok(Due::More)
    }

    async fn send(&self, claims: &[Claim]) -> Result<()> {
        let messages: Vec<Outgoing> = claims.iter().map(message).collect();
        let published = match self.broker.publish(&messages).await {
            Ok(published) => published,
            Err(error) => {
                // Nothing was sent: the next dispatcher that reaches the broker need not wait for the claims to run out.
                self.store.give_back(claims).await?;
                return Err(error.into());
            }
        };
        let confirmed: Vec<Claim> = claims
            .iter()
            .zip(published)
            .filter(|(_, published)| *published == Published::Confirmed)
            .map(|(claim, _)| claim.clone())
            .collect();
        self.store.mark_sent(&confirmed).await?;
        let missing = claims.len() - confirmed.len();
        if missing > 0 {
            // Those that are not marked are the ones given back; which may be in the queue as well, which does no harm.
            self.store.give_back(claims).await?;
            return Err(DispatchError::NotTaken(missing, claims.len()));
        }
        Ok(())
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
        while let Due::More = self.send_due(None, shutdown).await? {
            self.rescue().await?;
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

    /// Sends dead messages that somebody wants to run again. Those that are not confirmed are due again when their
    /// claims run out.
    async fn send_redriven(&self) -> Result<()> {
        let redriven = self.store.claim_redriven(HOLD, REDRIVEN_BATCH).await?;
        if redriven.is_empty() {
            return Ok(());
        }
        let messages: Vec<Outgoing> = redriven.iter().map(redriven_message).collect();
        let published = self.broker.publish(&messages).await?;
        let all = redriven.len();
        let sent: Vec<Redriven> = (redriven.into_iter().zip(published))
            .filter(|(_, published)| *published == Published::Confirmed)
            .map(|(redriven, _)| redriven)
            .collect();
        self.store.end_redriven(&sent).await?;
        log::info!("{} dead messages were sent again", sent.len());
        match all - sent.len() {
            0 => Ok(()),
            missing => Err(DispatchError::NotTaken(missing, all)),
        }
    }

    async fn rescue(&self) -> Result<()> {
        let rescued = self.store.rescue(self.settings.max_lost_leases, BATCH).await?;
        if rescued > 0 {
            log::warn!("{rescued} works lost their worker");
        }
        Ok(())
    }
}

fn redriven_message(redriven: &Redriven) -> Outgoing {
    Outgoing {
        message_id: redriven.message_id.clone(),
        row: None,
        body: redriven.body.clone(),
    }
}

fn message(claim: &Claim) -> Outgoing {
    let demand = WorkDemand {
        add_up_to: claim.add_up_to,
        done: false,
    };
    Outgoing {
        message_id: claim.message_id.clone(),
        row: Some(DemandedRow {
            work_code: claim.work_code.clone(),
            generation: claim.generation,
            attempt: claim.attempt,
            failures: claim.failures,
        }),
        body: Bytes::from(serde_json::to_vec(&demand).unwrap_or_else(|_| unreachable!("two plain fields"))),
    }
}
