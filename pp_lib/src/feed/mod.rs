//! The change feed port, which wakes waiters after a change. They read the changes from the store.
//!
//! A wake-up may come without a change, and several changes may share one. Every waiter also polls, so a lost wake-up
//! costs time, never work.

pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;

use std::sync::Arc;

use tokio::sync::watch;

/// Announces commits. Only due works wake the dispatchers.
pub trait Feed: Send + Sync {
    /// Announces that a row became due, and thus changed. Wakes every waiter soon. Cheap; call it after the commit.
    fn poke(&self);

    /// Announces a change without due rows. Wakes the watchers of changes soon. Cheap; call it after the commit.
    fn announce(&self);

    /// A waiter for due rows, starting now.
    fn listen(&self) -> Waiter;

    /// A waiter for every change, starting now.
    fn watch(&self) -> Waiter;
}

fn wake(waiters: &watch::Sender<u64>) {
    waiters.send_modify(|count| *count += 1);
}

/// A shared feed of any kind.
pub type AnyFeed = Arc<dyn Feed>;

/// A waiter for announcements.
#[derive(Clone, Debug)]
pub struct Waiter(watch::Receiver<u64>);

impl Waiter {
    /// Waits for an announcement after the last one seen. It never returns once the feed is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
