//! From rows that are due to messages: claim, publish, and after the confirmation say that they were sent.
//!
//! Dying between any two of these steps costs a second message at most, which then finds its row settled.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Patience;
use crate::broker::{AnyBroker, BrokerError, Outgoing, Published, Queue};
use crate::domain::{DemandedRow, WorkDemand};
use crate::feed::AnyFeed;
use crate::health::Part;
use crate::store::{AnyStore, Claim, StoreError};

/// How long a claimed row is nobody else's: far longer than a broker takes to confirm.
const HOLD: Duration = Duration::from_secs(30);
/// How many rows are claimed and published together.
const BATCH: u16 = 1000;
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
pub enum DispatchError {
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
        let mut forgotten = !self.broker.durable();
        while !shutdown.is_cancelled() {
            let round = async {
                if forgotten {
                    self.start_over().await?;
                    forgotten = false;
                }
                if Instant::now() >= next_sweep {
                    self.sweep().await?;
                    next_sweep = Instant::now() + SWEEP;
                }
                self.rescue().await?;
                self.drain(Some(self.settings.within)).await
            };
            // A publish may wait for room; a stop does not wait for it. Its claims run out and are taken again.
            let outcome = tokio::select! {
                outcome = round => outcome,
                () = shutdown.cancelled() => return,
            };
            match outcome {
                Ok(_) => {
                    patience.recovered();
                    tokio::select! {
                        () = pokes.changed() => {}
                        () = sleep(self.settings.poll) => {}
                        () = shutdown.cancelled() => return,
                    }
                }
                Err(error) => {
                    patience.wait(&error, &shutdown).await;
                }
            }
        }
    }

    /// Sends everything that is due and fell due `within` that time, if given; how many rows.
    pub async fn drain(&self, within: Option<Duration>) -> Result<usize> {
        let mut sent = 0;
        loop {
            let claims = self.store.claim(within, HOLD, BATCH).await?;
            if claims.is_empty() {
                return Ok(sent);
            }
            sent += claims.len();
            self.send(&claims).await?;
        }
    }

    async fn send(&self, claims: &[Claim]) -> Result<()> {
        let messages: Vec<Outgoing> = claims.iter().map(message).collect();
        let published = self.broker.publish(&messages).await?;
        let confirmed: Vec<Claim> = claims
            .iter()
            .zip(published)
            .filter(|(_, published)| *published == Published::Confirmed)
            .map(|(claim, _)| claim.clone())
            .collect();
        self.store.mark_sent(&confirmed).await?;
        let missing = claims.len() - confirmed.len();
        if missing > 0 {
            Err(DispatchError::NotTaken(missing, claims.len()))
        } else {
            Ok(())
        }
    }

    /// Takes due rows of any age, and rows whose messages must be lost: they were sent a while ago, and the queue has
    /// nothing that waits. Those that are with a worker right now are sent twice, which does no harm.
    async fn sweep(&self) -> Result<()> {
        if self.broker.ready_messages(Queue::Demand).await? == 0 {
            say_released(self.store.release_sent(SWEEP).await?);
        }
        self.drain(None).await?;
        Ok(())
    }

    /// What a broker in memory held, or was about to be given, ended with the process that held it.
    async fn start_over(&self) -> Result<()> {
        say_released(self.store.release_claimed().await?);
        Ok(())
    }

    async fn rescue(&self) -> Result<()> {
        let rescued = self.store.rescue(self.settings.max_lost_leases, BATCH).await?;
        if rescued > 0 {
            log::warn!("{rescued} works lost their worker");
        }
        Ok(())
    }
}

fn say_released(released: u64) {
    if released > 0 {
        log::info!("{released} works that were sent and not heard of are sent again");
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
