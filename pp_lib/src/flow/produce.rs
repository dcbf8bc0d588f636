//! Where a producer's demands go: onto the broker or, within one process, into the store as rows that are due.
//!
//! When demands are made, and how often they are offered again, is the producer's.

use async_trait::async_trait;

use super::new_work_code;
use crate::broker::{AnyBroker, BrokerError, Outgoing, Published};
use crate::domain::{AddUpTo, MessageId, Origin, WorkDemand};
use crate::feed::AnyFeed;
use crate::store::{AnyStore, NewWork, StoreError};

/// A demand that asks for a new work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDemand {
    /// Its identity, the same however often it is offered.
    pub message_id: MessageId,
    /// The bound of the sum.
    pub add_up_to: AddUpTo,
}

/// Why a sink took nothing, or may have taken some without saying so. Offering the same demands again is harmless.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The broker's reason.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store's reason.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A place that keeps demands until they are computed.
#[async_trait]
pub trait DemandSink: Send + Sync {
    /// Offers demands with distinct ids; one answer for each, in order. What is not confirmed is the caller's still.
    async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError>;
}

/// Demands become messages; the broker's confirm makes them safe.
pub struct BrokerSink(AnyBroker);

impl BrokerSink {
    /// Onto this broker.
    pub fn new(broker: AnyBroker) -> Self {
        Self(broker)
    }
}

#[async_trait]
impl DemandSink for BrokerSink {
    async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError> {
        let messages: Vec<Outgoing> = demands.iter().map(message).collect();
        Ok(self.0.publish(&messages).await?)
    }
}

fn message(demand: &NewDemand) -> Outgoing {
    let body = WorkDemand {
        add_up_to: demand.add_up_to,
        done: false,
    };
    Outgoing {
        message_id: demand.message_id.clone(),
        row: None,
        body: serde_json::to_vec(&body)
            .unwrap_or_else(|_| unreachable!("a number and a truth value are JSON"))
            .into(),
    }
}

/// Demands become rows; the commit makes them safe, so that a broker which forgets needs to promise nothing.
pub struct StoreSink {
    store: AnyStore,
    feed: AnyFeed,
}

impl StoreSink {
    /// Into this store, waking the dispatcher that listens to this feed.
    pub fn new(store: AnyStore, feed: AnyFeed) -> Self {
        Self { store, feed }
    }
}

#[async_trait]
impl DemandSink for StoreSink {
    async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError> {
        let works: Vec<NewWork> = demands.iter().map(row).collect();
        let created = self.store.create(&works).await?;
        self.feed.poke();
        // A row that is missing had a code that was taken; the next offer comes with another one.
        let answer = |work: &Option<_>| match work {
            Some(_) => Published::Confirmed,
            None => Published::Unconfirmed,
        };
        Ok(created.iter().map(answer).collect())
    }
}

fn row(demand: &NewDemand) -> NewWork {
    NewWork {
        message_id: demand.message_id.clone(),
        work_code: new_work_code(Origin::Consumer),
        add_up_to: demand.add_up_to,
    }
}
