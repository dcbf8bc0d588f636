//! Puts works in: a producer's demands onto the broker or, within one process, into the store as due rows; and, in
//! `transaction`, the works of an application into the database within its own transaction.
//!
//! The producer decides when demands are made and how often they are offered again.

mod transaction;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::broker::{AnyBroker, BrokerError, Outgoing, Published};
use crate::domain::{Json, KindName, MessageId, Origin, PART_BYTES, Unique, WorkCode, body_of_args, parts};
use crate::feed::AnyFeed;
use crate::runtime::new_work_code;
use crate::store::{AnyStore, NewWork, StoreError};

pub use diesel::QueryResult;
pub(crate) use transaction::refused;
pub use transaction::{EnqueueConnection, Enqueued, NewJob, enqueue};

/// A demand for a new work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDemand {
    /// Its kind.
    pub kind: KindName,
    /// Its identity within the kind, the same for every offer.
    pub message_id: MessageId,
    /// Its arguments.
    pub args: Json,
    /// The promised code of its work, if there is one.
    pub work_code: Option<WorkCode>,
    /// While a work of the kind with this text is unfinished, the demand is for that work.
    pub unique: Option<Unique>,
}

impl NewDemand {
    /// The bytes of its arguments.
    pub fn bytes(&self) -> usize {
        self.args.bytes()
    }
}

/// The reason why a sink may have taken none or only some of the demands. Offering the same demands again is harmless.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The error of the broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The error of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A sink that keeps demands until they are computed.
#[async_trait]
pub trait DemandSink: Send + Sync {
    /// Offers demands with distinct ids. Answers one outcome for each, in order. Unconfirmed demands remain with the
    /// caller.
    async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError>;
}

/// Sends demands as messages. The broker's confirmation makes them durable.
pub struct BrokerSink(AnyBroker);

impl BrokerSink {
    /// A sink onto this broker.
    pub fn new(broker: AnyBroker) -> Self {
        Self(broker)
    }
}

#[async_trait]
impl DemandSink for BrokerSink {
    async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError> {
        let mut answers = vec![Published::Unconfirmed; demands.len()];
        let mut by_kind: BTreeMap<&KindName, Vec<usize>> = BTreeMap::new();
        for (place, demand) in demands.iter().enumerate() {
            by_kind.entry(&demand.kind).or_default().push(place);
        }
        for (kind, places) in by_kind {
            // A message has a copy of its arguments.
            for part in parts(&places, places.len(), PART_BYTES, |place| demands[*place].bytes()) {
                let messages: Vec<Outgoing> = part.iter().map(|place| message(&demands[*place])).collect();
                let published = self.0.publish(kind, &messages).await?;
                part.iter()
                    .zip(published)
                    .for_each(|(place, one)| answers[*place] = one);
            }
        }
        Ok(answers)
    }
}

fn message(demand: &NewDemand) -> Outgoing {
    Outgoing {
        message_id: demand.message_id.clone(),
        row: None,
        new_work_code: demand.work_code.clone(),
        unique: demand.unique.clone(),
        body: body_of_args(&demand.kind, &demand.args).into(),
    }
}

/// Writes demands as rows. The commit makes them durable, so a broker in memory need not keep them.
pub struct StoreSink {
    store: AnyStore,
    feed: AnyFeed,
}

impl StoreSink {
    /// A sink into this store. It wakes the dispatcher that listens to this feed.
    pub fn new(store: AnyStore, feed: AnyFeed) -> Self {
        Self { store, feed }
    }
}

#[async_trait]
impl DemandSink for StoreSink {
    async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError> {
        let works: Vec<NewWork> = demands.iter().map(row).collect();
        let mut created = Vec::with_capacity(works.len());
        for part in parts(&works, works.len(), PART_BYTES, NewWork::bytes) {
            created.append(&mut self.store.create(part).await?);
            self.feed.poke();
        }
        // A missing row means that its code was taken. Unless the code was promised, the next offer uses another one.
        let answer = |work: &Option<_>| match work {
            Some(_) => Published::Confirmed,
            None => Published::Unconfirmed,
        };
        Ok(created.iter().map(answer).collect())
    }
}

fn row(demand: &NewDemand) -> NewWork {
    NewWork {
        kind: demand.kind.clone(),
        message_id: demand.message_id.clone(),
        work_code: (demand.work_code.clone()).unwrap_or_else(|| new_work_code(Origin::Consumer)),
        args: demand.args.clone(),
        run_at: None,
        unique: demand.unique.clone(),
        notify: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::broker::memory::Memory;
    use crate::broker::{Broker as _, Prefetch, Queue};
    use crate::domain::AddUpTo;
    use crate::feed::Feed as _;
    use crate::feed::memory::MemoryFeed;
    use crate::runtime::new_message_id;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{DispatchRows as _, WorkRows as _};

    fn demands(count: usize) -> Vec<NewDemand> {
        let demand = || NewDemand {
            kind: KindName::default(),
            message_id: new_message_id(),
            args: AddUpTo::try_from(2).unwrap().args(),
            work_code: None,
            unique: None,
        };
        std::iter::repeat_with(demand).take(count).collect()
    }

    #[tokio::test]
    async fn a_demand_on_the_broker_has_the_form_of_every_client() {
        let broker = Arc::new(Memory::default());
        let demands = demands(2);
        let answers = BrokerSink::new(broker.clone()).offer(&demands).await.unwrap();
        assert_eq!(answers, [Published::Confirmed; 2]);
        let mut queue = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        let got = queue.next_batch(2, Duration::from_secs(5)).await.unwrap();
        for (delivery, demand) in got.iter().zip(&demands) {
            assert_eq!(&delivery.body[..], br#"{"add_up_to":2,"done":false}"#);
            assert_eq!(
                delivery.properties.message_id.as_deref(),
                Some(demand.message_id.as_str())
            );
            assert_eq!(delivery.properties.work_code, None);
        }
        assert_eq!(got.len(), 2);
    }

    #[tokio::test]
    async fn a_demand_in_the_store_is_one_due_row_after_any_number_of_offers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let (store, feed) = (Arc::new(store), Arc::new(MemoryFeed::new()));
        let mut waiter = feed.listen();
        let sink = StoreSink::new(store.clone(), feed);
        let demands = demands(3);
        for _ in 0..2 {
            assert_eq!(sink.offer(&demands).await.unwrap(), [Published::Confirmed; 3]);
            tokio::time::timeout(Duration::from_secs(5), waiter.changed())
                .await
                .unwrap();
        }
        let due = store.claim(&[], None, Duration::from_secs(30), 10).await.unwrap();
        assert_eq!(due.len(), 3);
        assert!(due.iter().all(|claim| claim.work_code.origin() == Origin::Consumer));
        let works = store.by_ids(&[due[0].id]).await.unwrap();
        assert_eq!(works[0].add_up_to().unwrap().get(), 2);
    }
}
