//! Resends accepted demands that vanished: a broker policy dropped them, or an operator purged the queue.
//!
//! An accepted demand without a row exists only in the queue and, as a provisional entry, in the cache. If the entry
//! exists, no row does and the queue is empty, the message is lost or with a worker right now. It is sent again under
//! its own identity, so that a worker which already has it creates no second work.
//!
//! A demand with a `unique` may have been joined to another work instead. Then that work was unfinished after the demand
//! was accepted, and its id replaces the entry.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::broker::{AnyBroker, BrokerError, Published, Queue};
use crate::cache::{AnyCache, ByCode, CacheError, Provisional};
use crate::domain::{KindName, PART_BYTES, Work, WorkCode, WorkId, is_full};
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
        loop {
            let codes = self.cache.take_accepted(age, BATCH).await?;
            if codes.is_empty() {
                break;
            }
            let missing = self.missing(&codes).await?;
            let mut settled = codes;
            settled.retain(|code| missing.iter().all(|demand| demand.work_code != *code));
            self.cache.drop_accepted(&settled).await?;
            let (joined, confirmed) = self.resend_missing(&missing).await?;
            sent += confirmed;
            if joined + confirmed < missing.len() {
                // The others are looked at again later.
                break;
            }
        }
        Ok(sent)
    }

    /// The demands behind these codes that have no row.
    async fn missing(&self, codes: &[WorkCode]) -> Result<Vec<Provisional>, CheckError> {
        let mut unrecorded = codes.to_vec();
        loop {
            let works = self.store.by_codes(&unrecorded).await?;
            let full = is_full(&works, PART_BYTES, Work::bytes);
            let recorded: BTreeSet<WorkCode> = works.into_iter().map(|work| work.work_code).collect();
            unrecorded.retain(|code| !recorded.contains(code));
            if !full {
                break;
            }
        }
        let known = self.cache.by_codes(&unrecorded).await?;
        let missing = known.into_iter().filter_map(|known| match known {
            Some(ByCode::Provisional(demand)) => Some(demand),
            _ => None,
        });
        Ok(missing.collect())
    }

    /// Sends demands again whose queue is empty, unless they were joined to other works. Returns the number of joined
    /// ones and of those that are confirmed.
    async fn resend_missing(&self, missing: &[Provisional]) -> Result<(usize, usize), CheckError> {
        let kinds: BTreeSet<&KindName> = missing.iter().map(|demand| &demand.kind).collect();
        let (mut joined, mut confirmed) = (Vec::new(), 0);
        for kind in kinds {
            if self.broker.ready_messages(&Queue::Demand(kind.clone())).await? > 0 {
                continue;
            }
            let mut demands = Vec::new();
            for demand in missing.iter().filter(|demand| demand.kind == *kind) {
                match self.joined_to(demand).await? {
                    Some(work) => joined.push((demand.work_code.clone(), ByCode::Id(work))),
                    None => demands.push(new_demand(demand.clone())),
                }
            }
            let published = BrokerSink::new(self.broker.clone()).offer(&demands).await?;
            confirmed += published
                .iter()
                .filter(|answer| **answer == Published::Confirmed)
                .count();
        }
        if !joined.is_empty() {
            self.cache.put_codes(&joined).await?;
            let codes: Vec<WorkCode> = joined.iter().map(|(code, _)| code.clone()).collect();
            self.cache.drop_accepted(&codes).await?;
        }
        Ok((joined.len(), confirmed))
    }

    /// The work that has taken the place of a demand with a `unique`.
    async fn joined_to(&self, demand: &Provisional) -> Result<Option<WorkId>, CheckError> {
        let Some(unique) = &demand.unique else {
            return Ok(None);
        };
        let since = joined_since(demand);
        let work = self.store.by_unique(&demand.kind, unique, since).await?;
        Ok(work.map(|work| work.id))
    }
}

/// The Unix second from which on a work must have been unfinished that a demand was joined to. The clocks of the API and
/// of the store may differ by seconds.
pub(super) fn joined_since(demand: &Provisional) -> i64 {
    const CLOCKS_DIFFER: i64 = 5;
    demand.created_on - CLOCKS_DIFFER
}

fn new_demand(demand: Provisional) -> NewDemand {
    NewDemand {
        kind: demand.kind,
        message_id: demand.message_id,
        args: demand.args,
        work_code: Some(demand.work_code),
        unique: demand.unique,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::Prefetch;
    use crate::broker::memory::Memory;
    use crate::cache::CacheOptions;
    use crate::cache::memory::MemoryCache;
    use crate::domain::{AddUpTo, KindName, Origin};
    use crate::runtime::{new_message_id, new_work_code};
    use crate::store::NewWork;
    use crate::store::sqlite::SqliteStore;

    const AT_ONCE: Duration = Duration::ZERO;

    fn accepted() -> Provisional {
        Provisional {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Consumer),
            kind: KindName::default(),
            args: AddUpTo::try_from(7).unwrap().args(),
            unique: None,
            created_on: 0,
        }
    }

    async fn on_new_adapters(folder: &tempfile::TempDir) -> VanishedDemands {
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let options = CacheOptions {
            ttl: Duration::from_secs(60),
            staleness: Duration::from_secs(1),
        };
        VanishedDemands {
            store: Arc::new(store),
            broker: Arc::new(Memory::default()),
            cache: Arc::new(MemoryCache::new(options)),
        }
    }

    #[tokio::test]
    async fn a_demand_that_was_joined_to_another_work_leads_to_it_and_is_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let vanished = on_new_adapters(&folder).await;
        let unique = || Some(String::from("u").try_into().unwrap());
        let holder = NewWork {
            message_id: new_message_id(),
            kind: KindName::default(),
            work_code: new_work_code(Origin::Api),
            args: AddUpTo::MIN.args(),
            run_at: None,
            unique: unique(),
            notify: None,
        };
        let holder = vanished.store.create(&[holder]).await.unwrap().remove(0).unwrap().work;
        vanished
            .store
            .cancel(&crate::domain::Principal::Open, holder.id, None)
            .await
            .unwrap();
        let at = |created_on| Provisional {
            unique: unique(),
            created_on,
            ..accepted()
        };
        let (joined, lost) = (at(holder.updated_on), at(holder.updated_on + 60));
        for demand in [&joined, &lost] {
            let entry = ByCode::Provisional(demand.clone());
            vanished
                .cache
                .put_codes(&[(demand.work_code.clone(), entry)])
                .await
                .unwrap();
        }
        assert_eq!(
            vanished.resend(AT_ONCE).await.unwrap(),
            1,
            "the one that came when no work was unfinished"
        );
        let codes = [joined.work_code, lost.work_code.clone()];
        let known = vanished.cache.by_codes(&codes).await.unwrap();
        assert_eq!(
            known,
            [Some(ByCode::Id(holder.id)), Some(ByCode::Provisional(lost.clone()))]
        );
        let mut queue = vanished
            .broker
            .subscribe(&Queue::sums(), Prefetch::messages(10))
            .await
            .unwrap();
        let again = queue.next_batch(10, AT_ONCE).await.unwrap();
        let sent: Vec<_> = again
            .iter()
            .map(|delivery| delivery.properties.new_work_code.as_deref())
            .collect();
        assert_eq!(sent, [Some(lost.work_code.as_str())]);
    }

    #[tokio::test]
    async fn a_vanished_demand_is_resent_under_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let vanished = on_new_adapters(&folder).await;
        let (broker, cache) = (vanished.broker.clone(), vanished.cache.clone());
        let [lost, recorded, known] = [(); 3].map(|()| accepted());
        for demand in [&lost, &recorded, &known] {
            let entry = ByCode::Provisional(demand.clone());
            cache.put_codes(&[(demand.work_code.clone(), entry)]).await.unwrap();
        }
        let row = NewWork {
            message_id: recorded.message_id.clone(),
            kind: recorded.kind.clone(),
            work_code: recorded.work_code.clone(),
            args: recorded.args.clone(),
            run_at: None,
            unique: None,
            notify: None,
        };
        vanished.store.create(&[row]).await.unwrap();
        let id = ByCode::Id(WorkId(7));
        cache.put_codes(&[(known.work_code.clone(), id)]).await.unwrap();

        assert_eq!(vanished.resend(MIN_AGE).await.unwrap(), 0, "none is old enough");
        assert_eq!(vanished.resend(AT_ONCE).await.unwrap(), 1);
        assert_eq!(vanished.resend(AT_ONCE).await.unwrap(), 0, "it waits");
        let mut queue = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
        let again = queue.next_batch(10, AT_ONCE).await.unwrap();
        assert_eq!(again.len(), 1);
        let properties = &again[0].properties;
        assert_eq!(properties.message_id.as_deref(), Some(lost.message_id.as_str()));
        assert_eq!(properties.new_work_code.as_deref(), Some(lost.work_code.as_str()));
        assert_eq!(&again[0].body[..], br#"{"add_up_to":7,"done":false}"#);
        assert_eq!(cache.take_accepted(AT_ONCE, 10).await.unwrap(), [lost.work_code]);
    }
}
