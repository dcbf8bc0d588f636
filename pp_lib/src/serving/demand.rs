//! Demanding works without the database: the broker accepts the demand, its code finds it at once, and a worker writes
//! the row later.
//!
//! Demands with the same key ask for the same work: its identity, its code and its default bound are derived from the
//! key alone. So nothing has to be stored for a key, and it never expires: it is valid as long as the row of its work.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Builder;

use crate::broker::AnyBroker;
use crate::cache::{AnyCache, Provisional};
use crate::domain::{AddUpTo, Json, KindName, MessageId, Origin, Unique, Variable, Work, WorkCode};
use crate::enqueue::{BrokerSink, NewDemand, StoreSink};
use crate::feed::AnyFeed;
use crate::kinds::Registry;
use crate::runtime::{new_message_id, new_work_code};
use crate::serving::api_instances::{ApiInstances, InstanceCount};
use crate::serving::vanished::VanishedDemands;
use crate::serving::{Actor, ActorError, DemandHandle, OfferOutcome, Scope, WorkOrDemand, Works};
use crate::store::{AnyStore, MOST_EVENTS, may_have_more_events};

/// The maximum wait for a demand's confirmation.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum time for checking that a key was not used for another demand. After it the demand is accepted unchecked.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// The highest default bound; the lowest is 1.
const MAX_DEFAULT_BOUND: u64 = 99;

/// A reason why a demand was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// The demand was not confirmed in time. The client may send it again.
    #[error("the demand was not confirmed")]
    NotConfirmed,
    /// The key was used for another demand.
    #[error("the key was used for another demand")]
    OtherDemand,
    /// There are several API processes without a shared cache: the others would not find the demand.
    #[error("the processes have no cache that they share")]
    NotShared,
    /// The demands' actor failed.
    #[error(transparent)]
    Actor(#[from] ActorError),
}

/// The identity of a demand: its message id and code, and the bound for demands without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandIdentity {
    message_id: MessageId,
    work_code: WorkCode,
    /// The bound of a sum if none is requested.
    bound: AddUpTo,
    /// True if a demand with this identity may have been sent before.
    keyed: bool,
}

impl DemandIdentity {
    /// A new identity for a demand without a key.
    pub fn fresh() -> Self {
        Self {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Consumer),
            bound: bound(rand::rng().random()),
            keyed: false,
        }
    }

    /// The identity derived from a client's key in its scope.
    pub fn of_key(scope: Scope<'_>, key: String) -> Self {
        let key = scope.request_key(key);
        let mut hash = Sha256::new();
        hash.update(key.scope.len().to_be_bytes());
        hash.update(key.scope);
        hash.update(key.key);
        let digest: [u8; 32] = hash.finalize().into();
        let mut number = [0; 8];
        number[2..].copy_from_slice(&digest[26..]);
        Self {
            message_id: message_id(&digest),
            work_code: WorkCode::new(Origin::Consumer, std::array::from_fn(|place| digest[16 + place])),
            bound: bound(u64::from_be_bytes(number)),
            keyed: true,
        }
    }
}

fn message_id(digest: &[u8; 32]) -> MessageId {
    let id = Builder::from_custom_bytes(std::array::from_fn(|place| digest[place]));
    MessageId::try_from(id.into_uuid().to_string()).unwrap_or_else(|_| unreachable!("a UUID is printable and short"))
}

fn bound(number: u64) -> AddUpTo {
    let within = i64::try_from(number % MAX_DEFAULT_BOUND + 1).ok();
    within
        .and_then(|within| AddUpTo::try_from(within).ok())
        .unwrap_or(AddUpTo::MIN)
}

/// Accepts demands for works that need no row at once.
#[derive(Clone)]
pub struct DemandService {
    offers: DemandHandle,
    /// Offers of demands that become rows at once.
    row_offers: DemandHandle,
    works: Works,
    kinds: Registry,
    /// True if accepted demands have no row yet, except of kinds whose works are claimed by workers.
    without_row: bool,
    /// Set if other processes would not find demands accepted here.
    unshared: Option<InstanceCount>,
}

impl DemandService {
    /// Demands a work of this kind. Without arguments it gets those of the identity. On return the demand is confirmed and
    /// found by its code.
    ///
    /// [`DemandError::OtherDemand`] is best effort. If neither cache nor store know the key's work in time, the key's
    /// first demand wins silently.
    ///
    /// Where a work of the kind with the same `unique` is unfinished when the demand is recorded, there is no work of its
    /// own, and its code leads to that work.
    pub async fn demand(
        &self,
        kind: KindName,
        args: Option<Json>,
        unique: Option<Unique>,
        identity: DemandIdentity,
    ) -> Result<Provisional, DemandError> {
        // Works that are claimed pass no broker.
        let claimed = self.kinds.get(&kind).is_some_and(|kind| kind.delivery.is_claimed());
        let without_row = self.without_row && !claimed;
        if without_row && self.unshared.as_ref().is_some_and(|count| !count.is_alone()) {
            return Err(DemandError::NotShared);
        }
        let args = args.unwrap_or_else(|| identity.bound.args());
        let mut demand = Provisional {
            message_id: identity.message_id,
            work_code: identity.work_code,
            kind,
            args,
            unique,
            created_on: now(),
        };
        if identity.keyed
            && let Some(created_on) = self.known(&demand).await?
        {
            demand.created_on = created_on;
            if demand.unique.is_some() {
                // The work that it was joined to may be finished. Sent again, it would be computed.
                return Ok(demand);
            }
        }
        let offers = if without_row { &self.offers } else { &self.row_offers };
        let offer = offers.offer(NewDemand {
            kind: demand.kind.clone(),
            message_id: demand.message_id.clone(),
            args: demand.args.clone(),
            work_code: Some(demand.work_code.clone()),
            unique: demand.unique.clone(),
        });
        match timeout(CONFIRM_TIMEOUT, offer).await {
            Ok(Ok(OfferOutcome::Confirmed)) => {}
            Ok(Ok(OfferOutcome::OtherDemand)) => return Err(DemandError::OtherDemand),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(OfferOutcome::NotConfirmed)) | Err(_) => return Err(DemandError::NotConfirmed),
        }
        match without_row {
            true => self.works.remember(demand.clone()).await,
            false => self.works.joined(&demand).await?,
        }
        Ok(demand)
    }

    /// The time at which this demand was accepted before, if known.
    async fn known(&self, demand: &Provisional) -> Result<Option<i64>, DemandError> {
        let look_up = async {
            match self.works.by_code(demand.work_code.clone()).await.ok()?.value? {
                WorkOrDemand::Provisional(known) => {
                    let key = |demand: &Provisional| (demand.kind.clone(), demand.args.clone(), demand.unique.clone());
                    Some((known.created_on, key(&known) == key(demand)))
                }
                WorkOrDemand::Work(work) => {
                    let alike = (&work.kind, &work.unique) == (&demand.kind, &demand.unique);
                    // A work with another code is the one that the demand was joined to.
                    let joined = work.work_code != demand.work_code;
                    let same = alike && (joined || self.may_be_of(&work, &demand.args).await);
                    Some((work.created_on, same))
                }
            }
        };
        match timeout(LOOK_UP_TIMEOUT, look_up).await {
            Ok(Some((_, false))) => Err(DemandError::OtherDemand),
            Ok(Some((created_on, true))) => Ok(Some(created_on)),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// True if a work may have been demanded with these arguments: it has them, or they were changed since.
    async fn may_be_of(&self, work: &Work, args: &Json) -> bool {
        if work.args == *args {
            return true;
        }
        match self.works.events(work.id, 0, MOST_EVENTS).await {
            Ok(Some(events)) => {
                may_have_more_events(&events) || events.iter().any(|event| event.variable == Variable::WorkUpdated)
            }
            Ok(None) | Err(_) => true,
        }
    }
}

/// The running tasks for demands. The owner stops them.
pub struct DemandServing {
    actors: [Actor; 2],
    instances: Option<ApiInstances>,
    vanished: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl DemandServing {
    /// Starts everything on the current runtime. Without a durable broker, demands become rows at once.
    pub async fn start(
        store: &AnyStore,
        feed: &AnyFeed,
        broker: &AnyBroker,
        works: Works,
        kinds: &Registry,
        cache: &AnyCache,
        mailbox: usize,
    ) -> (Self, DemandService) {
        let without_row = broker.durable();
        let messages = Arc::new(BrokerSink::new(Arc::clone(broker)));
        let rows = Arc::new(StoreSink::new(Arc::clone(store), Arc::clone(feed)));
        let (of_messages, offers) = DemandHandle::start(messages, mailbox, CONFIRM_TIMEOUT);
        let (of_rows, row_offers) = DemandHandle::start(rows, mailbox, CONFIRM_TIMEOUT);
        let instances = match without_row && !cache.shared() {
            true => Some(ApiInstances::start(Arc::clone(store)).await),
            false => None,
        };
        let stop = CancellationToken::new();
        let vanished = without_row.then(|| {
            let (store, broker, cache) = (store.clone(), broker.clone(), cache.clone());
            tokio::spawn(VanishedDemands { store, broker, cache }.run(stop.clone()))
        });
        let service = DemandService {
            offers,
            row_offers,
            works,
            kinds: kinds.clone(),
            without_row,
            unshared: instances.as_ref().map(ApiInstances::count),
        };
        let demanding = Self {
            actors: [of_messages, of_rows],
            instances,
            vanished,
            stop,
        };
        (demanding, service)
    }

    /// Answers the waiting demands and stops. Each part may take up to the grace period.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        for actor in self.actors {
            let _ = timeout(grace, actor.stop()).await;
        }
        if let Some(vanished) = self.vanished {
            let _ = timeout(grace, vanished).await;
        }
        if let Some(instances) = self.instances {
            instances.stop().await;
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Principal;

    fn of_key(path: &str, principal: &Principal, key: &str) -> DemandIdentity {
        let scope = Scope {
            method: "POST",
            path,
            principal,
        };
        DemandIdentity::of_key(scope, key.to_owned())
    }

    #[test]
    fn key_and_scope_determine_the_identity() {
        let one = of_key("/work/demand", &Principal::Open, "k");
        assert_eq!(one, of_key("/work/demand", &Principal::Open, "k"));
        assert_eq!(
            (one.message_id.as_str(), one.work_code.as_str(), one.bound.get()),
            ("d6a71f3d-0b2e-8590-99f9-629cc8d29311", "consumer-yVTwVU8cdM", 7)
        );
        for other in [
            of_key("/work/demand", &Principal::Open, "l"),
            of_key("/work/demand", &Principal::Service, "k"),
            of_key("/work", &Principal::Open, "k"),
            DemandIdentity::fresh(),
        ] {
            assert_ne!(other.message_id, one.message_id);
            assert_ne!(other.work_code, one.work_code);
        }
    }

    #[test]
    fn default_bounds_are_1_to_99() {
        assert_eq!([0, 98, 99, u64::MAX].map(|number| bound(number).get()), [1, 99, 1, 16]);
    }
}
