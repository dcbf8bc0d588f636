//! The change feed port: "something changed". For now it only wakes those who wait; what changed they read themselves.
//!
//! A wake-up may come without a change and many changes may come as one; a poll stands behind every waiter, so a lost
//! one costs time, never work.

pub mod memory;
pub mod postgres;

use std::sync::Arc;

use tokio::sync::watch;

/// Says and hears that something was committed.
pub trait Feed: Send + Sync {
    /// Wakes every waiter, soon. Cheap; called after each commit that made something due.
    fn poke(&self);

    /// A waiter that hears of everything from now on.
    fn listen(&self) -> Waiter;
}

/// A feed, whichever it is.
pub type AnyFeed = Arc<dyn Feed>;

/// One who waits for changes.
#[derive(Clone, Debug)]
pub struct Waiter(watch::Receiver<u64>);

impl Waiter {
    /// Waits for a poke since the last one seen. Never returns again once the feed is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
