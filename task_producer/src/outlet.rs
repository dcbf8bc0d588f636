//! Delivers demands in windows, and offers them again under the same ids until they are confirmed.

use std::sync::Arc;
use std::time::Duration;

use pp_lib::broker::Published;
use pp_lib::enqueue::{DemandSink, NewDemand};
use pp_lib::runtime::Retry;
use tokio_util::sync::CancellationToken;

/// The number of demands offered at once: enough to keep a broker busy, few enough for memory.
const WINDOW: usize = 2000;

/// The way to one sink.
pub(crate) struct Outlet {
    sink: Arc<dyn DemandSink>,
    shutdown: CancellationToken,
    grace: Duration,
}

impl Outlet {
    /// An outlet to this sink. After the shutdown it waits for offered demands, at most for the grace period.
    pub(crate) fn new(sink: Arc<dyn DemandSink>, shutdown: CancellationToken, grace: Duration) -> Self {
        Self { sink, shutdown, grace }
    }

    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Delivers demands until all are confirmed or the shutdown comes. Answers the number of confirmed demands.
    pub(crate) async fn deliver(&self, mut demands: impl Iterator<Item = NewDemand>) -> u64 {
        let mut confirmed = 0;
        while !self.shutdown.is_cancelled() {
            let window: Vec<NewDemand> = demands.by_ref().take(WINDOW).collect();
            if window.is_empty() {
                break;
            }
            confirmed += self.deliver_window(window).await;
        }
        confirmed
    }

    async fn deliver_window(&self, mut open: Vec<NewDemand>) -> u64 {
        let all = open.len();
        let mut retry = Retry::new("the producer");
        while let Err(trouble) = self.attempt(&mut open).await {
            if !retry.wait(&trouble, &self.shutdown).await {
                break;
            }
        }
        if open.is_empty() {
            retry.recovered();
        }
        (all - open.len()) as u64
    }

    /// Offers the open demands and removes the confirmed ones.
    async fn attempt(&self, open: &mut Vec<NewDemand>) -> Result<(), String> {
        let answers = tokio::select! {
            answers = self.sink.offer(open) => answers.map_err(|error| error.to_string())?,
            () = self.out_of_time() => return Err("no answer within the grace period".to_owned()),
        };
        let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        let (returned, confirmed) = (count(Published::Returned), count(Published::Confirmed));
        let unconfirmed = open.len() - returned - confirmed;
        let mut answers = answers.into_iter();
        open.retain(|_| answers.next() != Some(Published::Confirmed));
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "{returned} demands returned as unroutable, {unconfirmed} unconfirmed"
            ))
        }
    }

    async fn out_of_time(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(self.grace).await;
    }
}
