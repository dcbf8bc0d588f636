//! A work comes in: it gets its identity and its code here, and a bound when none was asked for.

use rand::RngExt as _;

use crate::actor::{ActorError, StoreHandle};
use crate::domain::{AddUpTo, Origin, Work};
use crate::flow::{new_message_id, new_work_code};
use crate::store::NewWork;

/// More codes than this are never taken in a row; a store that says so is broken.
const MOST_TRIES: usize = 100;

/// What the API asks for works.
#[derive(Clone)]
pub struct WorkService {
    store: StoreHandle,
}

impl WorkService {
    /// The service over a store's actor.
    pub fn new(store: StoreHandle) -> Self {
        Self { store }
    }

    /// The store, for reading.
    pub fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// Creates a work; without a bound, a random one from 1 to 99. It is committed when this returns.
    pub async fn create(&self, add_up_to: Option<AddUpTo>) -> Result<Work, ActorError> {
        let add_up_to = add_up_to.unwrap_or_else(random_bound);
        let message_id = new_message_id();
        for _ in 0..MOST_TRIES {
            let work = NewWork {
                message_id: message_id.clone(),
                work_code: new_work_code(Origin::Api),
                add_up_to,
                run_at: None,
            };
            if let Some(work) = self.store.create(work).await? {
                return Ok(work);
            }
        }
        log::error!("the store says of {MOST_TRIES} random codes that they are taken");
        Err(ActorError::Failed)
    }
}

/// A bound from 1 to 99.
fn random_bound() -> AddUpTo {
    let number: i64 = rand::rng().random_range(1..=99);
    AddUpTo::try_from(number).unwrap_or(AddUpTo::MIN)
}
