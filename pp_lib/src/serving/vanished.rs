//! Resends accepted demands that vanished: a broker policy dropped them, or an operator purged the queue.
//!
//! An accepted demand without a row exists only in the queue and, as a provisional entry, in the cache. If the entry
//! exists, no row does and the queue is empty, the message is lost or with a worker right now. It is sent again under
//! its own identity, so that a worker which already has it creates no second work.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::broker::{AnyBroker, BrokerError, Published, Queue};
use crate::cache::{AnyCache, ByCode, CacheError, Provisional};
use crate::enqueue::{BrokerSink, DemandSink as _, NewDemand, SinkError};
use crate::store::{AnyStore, StoreError};

/// The minimum time since a demand was accepted or resent before it is checked.
const MIN_AGE: Duration = Duration::from_secs(60);
/// The pause between checks.
const PAUSE: Duration = Duration::from_secs(15);
/// The number of demands checked together.
const BATCH: usize = 500;

pub(super) struct VanishedDemands {
    pub(super) store: AnyStore,
    pub(super) broker: AnyBroker,
    pub(super) cache: AnyCache,
}

/// The error of a check; the next check follows anyway.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl VanishedDemands {
    /// Checks for vanished demands until the shutdown.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let looking = async {
            loop {
                sleep(PAUSE).await;
                match self.resend(MIN_AGE).await {
                    Ok(0) => {}
                    Ok(sent) => log::warn!(
                        "{sent} accepted demands were neither in the queue nor recorded and are sent again; does a policy \
                         drop messages?"
                    ),
                    Err(error) => log::debug!("vanished demands were not checked: {error}"),
                }
            }
        };
        shutdown.run_until_cancelled(looking).await;
    }

    /// Resends the vanished demands of at least this age. Returns their number.
    async fn resend(&self, age: Duration) -> Result<usize, CheckError> {
        let mut sent = 0;
        // Checked in each round: demands that were just resent now wait in the queue.
        while self.broker.ready_messages(Queue::Demand).await? == 0 {
            let codes = self.cache.take_accepted(age, BATCH).await?;
            if codes.is_empty() {
                break;
            }
            let works = self.store.by_codes(&codes).await?;
            let recorded = |demand: &Provisional| works.iter().any(|work| work.work_code == demand.work_code);
            let known = self.cache.by_codes(&codes).await?;
            let missing: Vec<NewDemand> = known
                .into_iter()
                .filter_map(|known| match known {
                    Some(ByCode::Provisional(demand)) if !recorded(&demand) => Some(demand),
                    _ => None,
                })
                .map(|demand| NewDemand {
                    message_id: demand.message_id,
                    add_up_to: demand.add_up_to,
                    work_code: Some(demand.work_code),
                })
                .collect();
            let mut settled = codes;
            settled.retain(|code| missing.iter().all(|demand| demand.work_code.as_ref() != Some(code)));
            self.cache.drop_accepted(&settled).await?;
            let published = BrokerSink::new(self.broker.clone()).offer(&missing).await?;
            sent += published
                .iter()
                .filter(|answer| **answer == Published::Confirmed)
                .count();
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::memory::Memory;
    use crate::broker::{Broker as _, Prefetch};
    use crate::cache::memory::MemoryCache;
    use crate::cache::{Cache as _, CacheOptions};
    use crate::domain::{Origin, WorkId};
    use crate::runtime::{new_message_id, new_work_code};
    use crate::store::NewWork;
    use crate::store::sqlite::SqliteStore;

    const AT_ONCE: Duration = Duration::ZERO;

    fn accepted() -> Provisional {
        Provisional {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Consumer),
            add_up_to: "7".parse().unwrap(),
            created_on: 0,
        }
    }

    #[tokio::test]
    async fn a_vanished_demand_is_resent_under_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let options = CacheOptions {
            ttl: Duration::from_secs(60),
            staleness: Duration::from_secs(1),
        };
        let (broker, cache) = (Arc::new(Memory::default()), Arc::new(MemoryCache::new(options)));
        let vanished = VanishedDemands {
            store: Arc::new(store),
            broker: broker.clone(),
            cache: cache.clone(),
        };
        let [lost, recorded, known] = [(); 3].map(|()| accepted());
        for demand in [&lost, &recorded, &known] {
            let entry = ByCode::Provisional(demand.clone());
            cache.put_codes(&[(demand.work_code.clone(), entry)]).await.unwrap();
        }
        let row = NewWork {
            message_id: recorded.message_id.clone(),
            work_code: recorded.work_code.clone(),
            add_up_to: recorded.add_up_to,
            run_at: None,
        };
        vanished.store.create(&[row]).await.unwrap();
        let id = ByCode::Id(WorkId(7));
        cache.put_codes(&[(known.work_code.clone(), id)]).await.unwrap();

        assert_eq!(vanished.resend(MIN_AGE).await.unwrap(), 0, "none is old enough");
        assert_eq!(vanished.resend(AT_ONCE).await.unwrap(), 1);
        assert_eq!(vanished.resend(AT_ONCE).await.unwrap(), 0, "it waits");
        let mut queue = broker.subscribe(Queue::Demand, Prefetch::messages(10)).await.unwrap();
        let again = queue.next_batch(10, AT_ONCE).await.unwrap();
        assert_eq!(again.len(), 1);
        let properties = &again[0].properties;
        assert_eq!(properties.message_id.as_deref(), Some(lost.message_id.as_str()));
        assert_eq!(properties.new_work_code.as_deref(), Some(lost.work_code.as_str()));
        assert_eq!(&again[0].body[..], br#"{"add_up_to":7,"done":false}"#);
        assert_eq!(cache.take_accepted(AT_ONCE, 10).await.unwrap(), [lost.work_code]);
    }
}
