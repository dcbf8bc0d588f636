//! The bytes of messages that one subscription may hold, from the socket to the acknowledgement.
//!
//! RabbitMQ limits what it sends ahead by a number of messages, never by their size. So the connection of a subscription
//! is read only as long as the next message has room. What is not read waits in the server. The server closes a
//! connection that is not read for 15 s; then its messages come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// How much is held, and how much may be.
#[derive(Debug)]
struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// Nobody will release anything any more.
    over: AtomicBool,
    reader: AtomicWaker,
}

/// The connection's side: lets messages in.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    budget: Arc<Budget>,
    weights: Sender<usize>,
}

/// The subscription's side: knows what each message weighs and gives its room back.
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
    /// Lets a message in, if it has room; one that is larger than the whole budget has it while nothing else is held.
    pub(super) fn admit(&self, weight: usize) -> bool {
        let Budget { limit, held, .. } = &*self.budget;
        // Only this side adds: what is read here can only become less.
        let before = held.load(Ordering::Acquire);
        if before > 0 && before.saturating_add(weight) > *limit {
            return false;
        }
        held.fetch_add(weight, Ordering::AcqRel);
        let _ = self.weights.send(weight);
        true
    }

    /// Wakes the reader as soon as there is more room; it has to try again after this call.
    pub(super) fn wait(&self, reader: &Waker) {
        self.budget.reader.register(reader);
    }

    /// Whether there will never be room again.
    pub(super) fn is_over(&self) -> bool {
        self.budget.over.load(Ordering::Acquire)
    }
}

impl Scales {
    /// What the next message weighs, in the order in which they came in.
    pub(super) fn next_weight(&self) -> usize {
        self.weights.try_recv().unwrap_or(0)
    }

    /// Gives room back.
    pub(super) fn release(&self, weight: usize) {
        self.budget.held.fetch_sub(weight, Ordering::AcqRel);
        self.budget.reader.wake();
    }

    /// How many bytes a subscription may hold.
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
    fn what_is_held_stays_within_the_limit_but_for_a_single_message() {
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
