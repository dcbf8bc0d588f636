//! Live counters of all works or of one kind, sampled once for all watchers and only while there are watchers.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::StreamsError;
use crate::domain::KindName;
use crate::feed::AnyFeed;
use crate::runtime::Retry;
use crate::store::{AnyStore, Result};
use crate::streams::sse;

/// The shortest time between two samples.
const PAUSE: Duration = Duration::from_millis(250);
/// The additional wait for a poke. Rates change without one.
const QUIET: Duration = Duration::from_millis(750);
/// The most kinds whose counters are watched at once. They are sampled one after the other.
const MOST_KINDS: usize = 100;

/// The newest sample in the form it is sent; `None` until there is one.
type Sample = Option<Bytes>;

/// Samples the counters for all watchers.
pub(super) struct Sampler {
    /// The samples by what is counted: a kind, or all works.
    samples: Mutex<HashMap<Option<KindName>, watch::Sender<Sample>>>,
    /// Told of counters that nobody watched before.
    watched: Notify,
}

impl Sampler {
    /// Starts the sampler. It samples once there is a watcher.
    pub(super) fn start(store: AnyStore, feed: AnyFeed, shutdown: CancellationToken) -> Arc<Self> {
        let sampler = Arc::new(Self {
            samples: Mutex::default(),
            watched: Notify::new(),
        });
        let own = Arc::clone(&sampler);
        tokio::spawn(async move {
            let sampling = own.run(&store, &feed, &shutdown);
            shutdown.run_until_cancelled(sampling).await;
        });
        sampler
    }

    pub(super) fn watch(
        &self,
        kind: Option<KindName>,
        shutdown: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> std::result::Result<StatsSubscription, StreamsError> {
        let mut samples = self.samples();
        // A new watcher must not see an outdated sample.
        samples.retain(|_, sample| sample.receiver_count() > 0);
        if !samples.contains_key(&kind) {
            if kind.is_some() && samples.keys().flatten().count() >= MOST_KINDS {
                return Err(StreamsError::TooMany);
            }
            self.watched.notify_one();
        }
        let mut samples = samples
            .entry(kind)
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe();
        samples.mark_changed();
        Ok(StatsSubscription {
            samples,
            shutdown,
            _place: place,
        })
    }

    fn samples(&self) -> MutexGuard<'_, HashMap<Option<KindName>, watch::Sender<Sample>>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, store: &AnyStore, feed: &AnyFeed, shutdown: &CancellationToken) {
        let mut retry = Retry::new("the sampler of the counters");
        let mut waiter = feed.watch();
        loop {
            self.wanted().await;
            if let Err(error) = self.sample(store, |_| true).await {
                if !retry.wait(&error, shutdown).await {
                    return;
                }
                continue;
            }
            retry.recovered();
            let mut rest = pin!(async {
                sleep(PAUSE).await;
                let _ = timeout(QUIET, waiter.changed()).await;
            });
            loop {
                tokio::select! {
                    () = &mut rest => break,
                    // The next sample of all meets the same error.
                    () = self.watched.notified() => drop(self.sample(store, Option::is_none).await),
                }
            }
        }
    }

    /// Waits for a watcher.
    async fn wanted(&self) {
        while !self.samples().values().any(|sample| sample.receiver_count() > 0) {
            self.watched.notified().await;
        }
    }

    /// Samples what is watched and has such a sample.
    async fn sample(&self, store: &AnyStore, which: impl Fn(&Sample) -> bool) -> Result<()> {
        let wanted: Vec<Option<KindName>> = (self.samples().iter())
            .filter(|(_, sample)| sample.receiver_count() > 0 && which(&sample.borrow()))
            .map(|(kind, _)| kind.clone())
            .collect();
        for kind in wanted {
            let stats = store.stats(kind.as_ref()).await?;
            self.show(&kind, sse::event(Some(sse::STATS), None, &stats));
        }
        Ok(())
    }

    /// Publishes a sample unless it equals the last one.
    fn show(&self, kind: &Option<KindName>, frame: Bytes) {
        if let Some(sample) = self.samples().get(kind) {
            sample.send_if_modified(|sample| {
                let news = sample.as_ref() != Some(&frame);
                *sample = Some(frame);
                news
            });
        }
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
