//! Requests under way in this process, by key: one is executed, the others wait for what comes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::idempotency::{Given, KeyError, KeyedRequest};
use crate::actor::ActorError;
use crate::store::RequestKey;

/// What came of a request.
pub(super) type Outcome = Result<Given, KeyError>;

/// All that are under way.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<RequestKey, Flight>>>);

/// A request under way.
#[derive(Clone)]
pub(super) struct Flight {
    fingerprint: Vec<u8>,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// The right to execute a request. Whoever drops it without an outcome failed.
pub(super) struct Lead {
    flights: Flights,
    key: RequestKey,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Flights {
    /// The flight of a request's key; with the lead of it when there was none.
    pub(super) fn enter(&self, request: &KeyedRequest) -> (Flight, Option<Lead>) {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&request.key) {
            return (flight.clone(), None);
        }
        let (sender, outcome) = watch::channel(None);
        let flight = Flight {
            fingerprint: request.fingerprint.clone(),
            outcome,
        };
        flights.insert(request.key.clone(), flight.clone());
        let lead = Lead {
            flights: self.clone(),
            key: request.key.clone(),
            outcome: sender,
        };
        (flight, Some(lead))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestKey, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Whether it asks for the same as this request.
    pub(super) fn is_for(&self, request: &KeyedRequest) -> bool {
        self.fingerprint == request.fingerprint
    }

    /// Waits for what comes of it.
    pub(super) async fn outcome(mut self) -> Outcome {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or(Err(KeyError::Actor(ActorError::Failed)))
    }
}

impl Lead {
    /// The request is over; who asks from now on begins anew.
    pub(super) fn end(self, outcome: Outcome) {
        let all = self.outcome.clone();
        drop(self);
        all.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}
