//! The feed within one process.

use tokio::sync::watch;

use super::{Feed, Waiter};

/// Wakes waiters in this process only.
#[derive(Debug)]
pub struct MemoryFeed(watch::Sender<u64>);

impl MemoryFeed {
    /// A feed without waiters.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Default for MemoryFeed {
    fn default() -> Self {
        Self::new()
    }
}

impl Feed for MemoryFeed {
    fn poke(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    fn listen(&self) -> Waiter {
        Waiter(self.0.subscribe())
    }
}
