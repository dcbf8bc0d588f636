//! Single flight: of concurrent calls with the same key in this process, one executes and the others share its outcome.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The flights under way, by key. A flight carries a note of type `N` and ends with an outcome of type `T`.
pub(super) struct SingleFlight<K, N, T>(Arc<Mutex<HashMap<K, Flight<N, T>>>>);

/// A call under way.
#[derive(Clone)]
pub(super) struct Flight<N, T> {
    /// The leader's note, by which others decide whether to join.
    pub(super) note: N,
    outcome: watch::Receiver<Option<T>>,
}

/// A flight, with its lead if it is new.
pub(super) type Entered<K, N, T> = (Flight<N, T>, Option<Lead<K, N, T>>);

/// The right to execute a flight. Dropping it without an outcome fails the flight.
pub(super) struct Lead<K: Eq + Hash, N, T> {
    flights: SingleFlight<K, N, T>,
    key: K,
    outcome: watch::Sender<Option<T>>,
}

// Derived impls would require the same traits of keys, notes and outcomes.
impl<K, N, T> Clone for SingleFlight<K, N, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, N, T> Default for SingleFlight<K, N, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash, N: Clone, T: Clone> SingleFlight<K, N, T> {
    /// Joins the flight of a key if `joined` accepts its note, else starts a new one and returns its lead.
    pub(super) fn enter(&self, key: &K, note: N, joined: impl Fn(&N) -> bool) -> Entered<K, N, T> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(key).filter(|flight| joined(&flight.note)) {
            return (flight.clone(), None);
        }
        let (sender, outcome) = watch::channel(None);
        let flight = Flight { note, outcome };
        flights.insert(key.clone(), flight.clone());
        let lead = Lead {
            flights: self.clone(),
            key: key.clone(),
            outcome: sender,
        };
        (flight, Some(lead))
    }
}

impl<K: Eq + Hash, N, T> SingleFlight<K, N, T> {
    /// Ends the joining of this key's flight: the next call starts a new one.
    pub(super) fn detach(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<N, T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N, T: Clone> Flight<N, T> {
    /// Waits for the outcome; `None` if the lead failed.
    pub(super) async fn outcome(mut self) -> Option<T> {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone())
    }
}

impl<K: Eq + Hash, N, T> Lead<K, N, T> {
    /// Ends the flight with its outcome. The next call starts a new one.
    pub(super) fn end(self, outcome: T) {
        let all = self.outcome.clone();
        drop(self);
        all.send_replace(Some(outcome));
    }
}

impl<K: Eq + Hash, N, T> Drop for Lead<K, N, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // By now the key may belong to another flight.
        let mine = self.outcome.subscribe();
        if flights
            .get(&self.key)
            .is_some_and(|flight| flight.outcome.same_channel(&mine))
        {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = SingleFlight<u8, u8, u8>;

    #[tokio::test]
    async fn joined_calls_share_the_leaders_outcome() {
        let flights = Numbers::default();
        let (first, lead) = flights.enter(&1, 0, |_| true);
        let (second, none) = flights.enter(&1, 0, |_| true);
        assert!(none.is_none());
        lead.unwrap().end(7);
        assert_eq!((first.outcome().await, second.outcome().await), (Some(7), Some(7)));
        let (_, lead) = flights.enter(&1, 0, |_| true);
        assert!(lead.is_some(), "it was over");
    }

    #[tokio::test]
    async fn a_dropped_lead_fails_its_flight() {
        let flights = Numbers::default();
        let (flight, lead) = flights.enter(&1, 0, |_| true);
        drop(lead);
        assert_eq!(flight.outcome().await, None);
    }

    #[tokio::test]
    async fn a_detached_flight_goes_on_beside_the_next_one() {
        let flights = Numbers::default();
        let (old, old_lead) = flights.enter(&1, 0, |_| true);
        flights.detach(&1);
        let (new, new_lead) = flights.enter(&1, 1, |_| true);
        old_lead.unwrap().end(1);
        let (joined, none) = flights.enter(&1, 2, |note| *note == 1);
        assert!(none.is_none(), "the end of the old one left the new one alone");
        let (_other, other_lead) = flights.enter(&1, 3, |note| *note == 0);
        assert!(other_lead.is_some());
        new_lead.unwrap().end(2);
        assert_eq!(old.outcome().await, Some(1));
        assert_eq!((new.outcome().await, joined.outcome().await), (Some(2), Some(2)));
    }
}
