//! The counters as they change: sampled once for all who watch, and not at all while nobody does.

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
/// How much longer the next one waits for a poke. Rates change by themselves.
const QUIET: Duration = Duration::from_millis(750);

/// The counters, as all see them who watch.
pub(super) struct Sampler {
    /// The newest sample as it is sent; nothing until there is one.
    sample: watch::Sender<Option<Bytes>>,
    somebody: Notify,
}

impl Sampler {
    /// Starts to sample as soon as somebody watches.
    pub(super) fn start(store: AnyStore, feed: AnyFeed, shutdown: CancellationToken) -> Arc<Self> {
        let sampler = Arc::new(Self {
            sample: watch::Sender::new(None),
            somebody: Notify::new(),
        });
        let own = Arc::clone(&sampler);
        tokio::spawn(async move {
            let sampling = own.run(&store, &feed, &shutdown);
            shutdown.run_until_cancelled(sampling).await;
        });
        sampler
    }

    /// One more who watches.
    pub(super) fn watch(&self, shutdown: CancellationToken, place: OwnedSemaphorePermit) -> StatsSubscription {
        let mut samples = self.sample.subscribe();
        samples.mark_changed();
        self.somebody.notify_one();
        StatsSubscription {
            samples,
            shutdown,
            _place: place,
        }
    }

    async fn run(&self, store: &AnyStore, feed: &AnyFeed, shutdown: &CancellationToken) {
        let mut patience = Retry::new("the sampler of the counters");
        let mut waiter = feed.watch();
        loop {
            self.wanted().await;
            match store.stats().await {
                Ok(stats) => {
                    patience.recovered();
                    self.show(sse::event(Some(sse::STATS), None, &stats));
                    sleep(PAUSE).await;
                    let _ = timeout(QUIET, waiter.changed()).await;
                }
                Err(error) => {
                    if !patience.wait(&error, shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    async fn wanted(&self) {
        while self.sample.receiver_count() == 0 {
            // Who comes next is not shown what was true long ago.
            self.sample.send_replace(None);
            self.somebody.notified().await;
        }
    }

    /// What is as before is no news.
    fn show(&self, frame: Bytes) {
        self.sample.send_if_modified(|sample| {
            let news = sample.as_ref() != Some(&frame);
            *sample = Some(frame);
            news
        });
    }
}

/// The counters, as one sees them who watches.
pub struct StatsSubscription {
    samples: watch::Receiver<Option<Bytes>>,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl StatsSubscription {
    /// The newest sample as it is sent, as soon as there is one that was not handed out; nothing after the shutdown.
    /// May be given up and called again at any time.
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
