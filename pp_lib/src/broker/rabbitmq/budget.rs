//! The budget for the bytes of one subscription's messages, from the socket to the acknowledgement.
//!
//! RabbitMQ limits prefetched messages by number, not by size. The connection of a subscription is therefore read only
//! while the next message has room. Unread messages wait in the server. The server closes a connection that is not read
//! for 15 s, and then delivers its messages again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// The held bytes and their limit.
#[derive(Debug)]
struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// True when no more room will be released.
    over: AtomicBool,
    reader: AtomicWaker,
}

/// The side of the connection, which admits messages.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    budget: Arc<Budget>,
    weights: Sender<usize>,
}

/// The side of the subscription, which knows the weight of each message and releases its room.
pub(super) struct Scales {
    budget: Arc<Budget>,
    weights: Receiver<usize>,
}

/// Both sides of a budget of this many bytes.
pub(super) fn budget(limit: usize) -> (Gate, Scales) {
    let budget = Arc::new(Budget {
        limit,
        held: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        reader: AtomicWaker::new(),
    });
    let (sender, weights) = mpsc::channel();
    let gate = Gate {
        budget: budget.clone(),
        weights: sender,
    };
    (gate, Scales { budget, weights })
}

impl Gate {
    /// Admits a message if it has room. A message larger than the whole budget is admitted while nothing else is held.
    pub(super) fn admit(&self, weight: usize) -> bool {
        let Budget { limit, held, .. } = &*self.budget;
        // Only this side adds bytes, so the value can only become smaller.
        let before = held.load(Ordering::Acquire);
        if before > 0 && before.saturating_add(weight) > *limit {
            return false;
        }
        held.fetch_add(weight, Ordering::AcqRel);
        let _ = self.weights.send(weight);
        true
    }

    /// Wakes the reader when room is released. The reader must try again after this call.
    pub(super) fn wait(&self, reader: &Waker) {
        self.budget.reader.register(reader);
    }

    /// True when no room will be released any more.
    pub(super) fn is_over(&self) -> bool {
        self.budget.over.load(Ordering::Acquire)
    }
}

impl Scales {
    /// The weight of the next message in the order of arrival.
    pub(super) fn next_weight(&self) -> usize {
        self.weights.try_recv().unwrap_or(0)
    }

    /// Releases room.
    pub(super) fn release(&self, weight: usize) {
        self.budget.held.fetch_sub(weight, Ordering::AcqRel);
        self.budget.reader.wake();
    }

    /// The maximum bytes of a subscription.
    pub(super) fn limit(&self) -> usize {
        self.budget.limit
    }
}

impl Drop for Scales {
    fn drop(&mut self) {
        self.budget.over.store(true, Ordering::Release);
        self.budget.reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_bytes_stay_within_the_limit_except_for_a_single_message() {
        let (gate, scales) = budget(100);
        assert!(gate.admit(60) && gate.admit(40));
        assert!(!gate.admit(1));
        assert_eq!((scales.next_weight(), scales.next_weight()), (60, 40));
        scales.release(60);
        assert!(!gate.admit(1_000), "something else is held");
        scales.release(40);
        assert!(gate.admit(1_000) && !gate.admit(0), "it is alone");
        assert_eq!(scales.next_weight(), 1_000);
        scales.release(1_000);
        assert!(gate.admit(100));
        assert!(!gate.is_over());
        drop(scales);
        assert!(gate.is_over());
    }
}
