//! Works are demanded: accepted by the broker, found by their code at once, written when a worker gets to them. The
//! database is not needed for any of it.
//!
//! Who repeats a demand under the same key asks for the same work: its identity, its code and, where none was asked for,
//! its bound are made of the key alone. So nothing has to be remembered, and a key never expires: it holds as long as
//! the row of its work.

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
use crate::domain::{AddUpTo, MessageId, Origin, Variable, Work, WorkCode};
use crate::enqueue::{BrokerSink, DemandSink, NewDemand, StoreSink};
use crate::feed::AnyFeed;
use crate::runtime::{new_message_id, new_work_code};
use crate::serving::api_instances::{Census, Counted};
use crate::serving::vanished::Vanished;
use crate::serving::{ActorError, DemandActor, DemandHandle, Offered, Works};
use crate::serving::{Coded, Scope};
use crate::store::{AnyStore, MOST_EVENTS};

/// How long a demand waits for its confirmation.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to find out whether a key was used for something else. It is accepted when that is not known.
const LOOK_UP: Duration = Duration::from_secs(1);
/// Bounds that nobody asked for are 1 to this.
const MOST: u64 = 99;

/// Why a demand was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// It was not confirmed in time; the same demand may be sent again.
    #[error("the demand was not confirmed")]
    NotConfirmed,
    /// The same key was used for another demand.
    #[error("the key was used for another demand")]
    OtherDemand,
    /// What is accepted here could not be found by another process.
    #[error("the processes have no cache that they share")]
    NotShared,
    /// The actor that hands demands over.
    #[error(transparent)]
    Actor(#[from] ActorError),
}

/// What makes a demand the one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandIdentity {
    message_id: MessageId,
    work_code: WorkCode,
    /// The bound that is taken where none was asked for.
    bound: AddUpTo,
    /// Whether it may have been sent before.
    keyed: bool,
}

impl DemandIdentity {
    /// One that nobody else has.
    pub fn fresh() -> Self {
        Self {
            message_id: new_message_id(),
            work_code: new_work_code(Origin::Consumer),
            bound: bound(rand::rng().random()),
            keyed: false,
        }
    }

    /// The one that belongs to a client's key in its scope.
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
    let within = i64::try_from(number % MOST + 1).ok();
    within
        .and_then(|within| AddUpTo::try_from(within).ok())
        .unwrap_or(AddUpTo::MIN)
}

/// What the API asks for works that need no row at once.
#[derive(Clone)]
pub struct DemandService {
    offers: DemandHandle,
    works: Works,
    /// Whether a demand has no row when it is accepted.
    without_row: bool,
    /// Set where other processes would not find what is accepted here.
    unshared: Option<Counted>,
}

impl DemandService {
    /// Demands a work of this bound, or of one that belongs to the identity. It is safe when this returns, and found by
    /// its code.
    ///
    /// [`DemandError::OtherDemand`] is best effort: where neither cache nor store know the key's work, or in time, the
    /// first demand of the key is the one that counts.
    pub async fn demand(
        &self,
        add_up_to: Option<AddUpTo>,
        identity: DemandIdentity,
    ) -> Result<Provisional, DemandError> {
        if self.unshared.as_ref().is_some_and(|counted| !counted.alone()) {
            return Err(DemandError::NotShared);
        }
        let add_up_to = add_up_to.unwrap_or(identity.bound);
        let message_id = identity.message_id.clone();
        let known = match identity.keyed {
            true => self.known(&identity.work_code, add_up_to).await?,
            false => None,
        };
        let offer = self.offers.offer(NewDemand {
            message_id: identity.message_id,
            add_up_to,
            work_code: Some(identity.work_code.clone()),
        });
        match timeout(PATIENCE, offer).await {
            Ok(Ok(Offered::Safe)) => {}
            Ok(Ok(Offered::OtherDemand)) => return Err(DemandError::OtherDemand),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(Offered::NotConfirmed)) | Err(_) => return Err(DemandError::NotConfirmed),
        }
        let demand = Provisional {
            message_id,
            work_code: identity.work_code,
            add_up_to,
            created_on: known.unwrap_or_else(now),
        };
        if self.without_row {
            self.works.remember(demand.clone()).await;
        }
        Ok(demand)
    }

    /// When the demand was accepted that had this code before, if that is known.
    async fn known(&self, code: &WorkCode, add_up_to: AddUpTo) -> Result<Option<i64>, DemandError> {
        let look_up = async {
            match self.works.by_code(code.clone()).await.ok()?.value? {
                Coded::Provisional(demand) => Some((demand.created_on, demand.add_up_to == add_up_to)),
                Coded::Work(work) => Some((work.created_on, self.may_be_of(&work, add_up_to).await)),
            }
        };
        match timeout(LOOK_UP, look_up).await {
            Ok(Some((_, false))) => Err(DemandError::OtherDemand),
            Ok(Some((created_on, true))) => Ok(Some(created_on)),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// Whether a work may have been demanded with this bound: it has it, or was given another one since.
    async fn may_be_of(&self, work: &Work, add_up_to: AddUpTo) -> bool {
        if work.add_up_to == add_up_to {
            return true;
        }
        match self.works.events(work.id, 0, MOST_EVENTS).await {
            Ok(Some(events)) => {
                events.len() == usize::from(MOST_EVENTS)
                    || events.iter().any(|event| event.variable == Variable::WorkUpdated)
            }
            Ok(None) | Err(_) => true,
        }
    }
}

/// What is running for demands, owned by whoever stops it.
pub struct Demanding {
    actor: DemandActor,
    census: Option<Census>,
    vanished: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Demanding {
    /// Starts everything on the runtime this is called from. With a broker that forgets, demands become rows at once.
    pub async fn start(
        store: &AnyStore,
        feed: &AnyFeed,
        broker: &AnyBroker,
        works: Works,
        cache: &AnyCache,
        mailbox: usize,
    ) -> (Self, DemandService) {
        let without_row = broker.durable();
        let sink: Arc<dyn DemandSink> = match without_row {
            true => Arc::new(BrokerSink::new(Arc::clone(broker))),
            false => Arc::new(StoreSink::new(Arc::clone(store), Arc::clone(feed))),
        };
        let (actor, offers) = DemandActor::start(sink, mailbox, PATIENCE);
        let census = match without_row && !cache.shared() {
            true => Some(Census::begin(Arc::clone(store)).await),
            false => None,
        };
        let stop = CancellationToken::new();
        let vanished = without_row.then(|| {
            let (store, broker, cache) = (store.clone(), broker.clone(), cache.clone());
            tokio::spawn(Vanished { store, broker, cache }.run(stop.clone()))
        });
        let service = DemandService {
            offers,
            works,
            without_row,
            unshared: census.as_ref().map(Census::counted),
        };
        let demanding = Self {
            actor,
            census,
            vanished,
            stop,
        };
        (demanding, service)
    }

    /// Answers what waits, and leaves.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        let _ = timeout(grace, self.actor.stop()).await;
        if let Some(vanished) = self.vanished {
            let _ = timeout(grace, vanished).await;
        }
        if let Some(census) = self.census {
            census.end().await;
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

    fn of_key(path: &str, credentials: Option<&[u8]>, key: &str) -> DemandIdentity {
        let scope = Scope {
            method: "POST",
            path,
            credentials,
        };
        DemandIdentity::of_key(scope, key.to_owned())
    }

    #[test]
    fn a_key_in_its_scope_is_one_identity_for_ever() {
        let one = of_key("/work/demand", None, "k");
        assert_eq!(one, of_key("/work/demand", None, "k"));
        assert_eq!(
            (one.message_id.as_str(), one.work_code.as_str(), one.bound.get()),
            ("d6a71f3d-0b2e-8590-99f9-629cc8d29311", "consumer-yVTwVU8cdM", 7)
        );
        for other in [
            of_key("/work/demand", None, "l"),
            of_key("/work/demand", Some(b"Bearer me"), "k"),
            of_key("/work", None, "k"),
            DemandIdentity::fresh(),
        ] {
            assert_ne!(other.message_id, one.message_id);
            assert_ne!(other.work_code, one.work_code);
        }
    }

    #[test]
    fn bounds_are_1_to_99() {
        assert_eq!([0, 98, 99, u64::MAX].map(|number| bound(number).get()), [1, 99, 1, 16]);
    }
}
