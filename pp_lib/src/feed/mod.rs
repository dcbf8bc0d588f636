//! The change feed port: "something changed". For now it only wakes those who wait; what changed they read themselves.
//!
//! A wake-up may come without a change and many changes may come as one; a poll stands behind every waiter, so a lost
//! one costs time, never work.

pub mod memory;
pub mod postgres;

use std::sync::Arc;

use tokio::sync::watch;

/// Says and hears that something was committed. Those who send what is due are not woken by every change.
pub trait Feed: Send + Sync {
    /// Something became due, and so changed. Wakes every waiter, soon. Cheap; called after the commit.
    fn poke(&self);

    /// Something changed and nothing became due. Wakes those who wait for changes, soon. Cheap; called after the commit.
    fn announce(&self);

    /// A waiter that hears from now on when something becomes due.
    fn listen(&self) -> Waiter;

    /// A waiter that hears from now on of every change.
    fn watch(&self) -> Waiter;
}

fn wake(waiters: &watch::Sender<u64>) {
    waiters.send_modify(|count| *count += 1);
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
