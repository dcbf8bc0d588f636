//! The feed within one process.

use tokio::sync::watch;

use super::{Feed, Waiter, wake};

/// Wakes waiters in this process only.
#[derive(Debug)]
pub struct MemoryFeed {
    due: watch::Sender<u64>,
    changes: watch::Sender<u64>,
}

impl MemoryFeed {
    /// A feed without waiters.
    pub fn new() -> Self {
        Self {
            due: watch::Sender::new(0),
            changes: watch::Sender::new(0),
        }
    }
}

impl Default for MemoryFeed {
    fn default() -> Self {
        Self::new()
    }
}

impl Feed for MemoryFeed {
    fn poke(&self) {
        wake(&self.due);
        self.announce();
    }

    fn announce(&self) {
        wake(&self.changes);
    }

    fn listen(&self) -> Waiter {
        Waiter(self.due.subscribe())
    }

    fn watch(&self) -> Waiter {
        Waiter(self.changes.subscribe())
    }
}
