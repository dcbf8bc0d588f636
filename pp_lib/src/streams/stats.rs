//! Live counters, sampled once for all watchers and only while there are watchers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::feed::AnyFeed;
use crate::runtime::Retry;
use crate::store::AnyStore;
use crate::streams::sse;

/// The shortest time between two samples.
const PAUSE: Duration = Duration::from_millis(250);
/// The additional wait for a poke. Rates change without one.
const QUIET: Duration = Duration::from_millis(750);

/// Samples the counters for all watchers.
pub(super) struct Sampler {
    /// The newest sample in the form it is sent; `None` until there is one.
    sample: watch::Sender<Option<Bytes>>,
    watched: Notify,
}

impl Sampler {
    /// Starts the sampler. It samples once there is a watcher.
    pub(super) fn start(store: AnyStore, feed: AnyFeed, shutdown: CancellationToken) -> Arc<Self> {
        let sampler = Arc::new(Self {
            sample: watch::Sender::new(None),
            watched: Notify::new(),
        });
        let own = Arc::clone(&sampler);
        tokio::spawn(async move {
            let sampling = own.run(&store, &feed, &shutdown);
            shutdown.run_until_cancelled(sampling).await;
        });
        sampler
    }

    pub(super) fn watch(&self, shutdown: CancellationToken, place: OwnedSemaphorePermit) -> StatsSubscription {
        let mut samples = self.sample.subscribe();
        samples.mark_changed();
        self.watched.notify_one();
        StatsSubscription {
            samples,
            shutdown,
            _place: place,
        }
    }

    async fn run(&self, store: &AnyStore, feed: &AnyFeed, shutdown: &CancellationToken) {
        let mut retry = Retry::new("the sampler of the counters");
        let mut waiter = feed.watch();
        loop {
            self.wanted().await;
            match store.stats(None).await {
                Ok(stats) => {
                    retry.recovered();
                    self.show(sse::event(Some(sse::STATS), None, &stats));
                    sleep(PAUSE).await;
                    let _ = timeout(QUIET, waiter.changed()).await;
                }
                Err(error) => {
                    if !retry.wait(&error, shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    async fn wanted(&self) {
        while self.sample.receiver_count() == 0 {
            // A new watcher must not see an outdated sample.
            self.sample.send_replace(None);
            self.watched.notified().await;
        }
    }

    /// Publishes a sample unless it equals the last one.
    fn show(&self, frame: Bytes) {
        self.sample.send_if_modified(|sample| {
            let news = sample.as_ref() != Some(&frame);
            *sample = Some(frame);
            news
        });
    }
}

/// The subscription of one watcher.
pub struct StatsSubscription {
    samples: watch::Receiver<Option<Bytes>>,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl StatsSubscription {
    /// The newest sample that was not handed out yet, in the form it is sent; `None` after the shutdown. The call may
    /// be cancelled and repeated.
    pub async fn next(&mut self) -> Option<Bytes> {
        let shutdown = self.shutdown.clone();
        let newest = async {
            loop {
                self.samples.changed().await.ok()?;
                if let Some(frame) = self.samples.borrow_and_update().clone() {
                    return Some(frame);
                }
            }
        };
        shutdown.run_until_cancelled(newest).await.flatten()
    }
}
