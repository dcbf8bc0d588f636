//! Answering requests: creating, reading and changing works, idempotency keys, and keeping the caches up to date. The
//! actors batch calls to the store, the cache and the broker. HTTP is not known here.

mod actors;
mod api_instances;
mod codes;
mod create;
mod demand;
mod gate;
mod idempotency;
pub(crate) mod metrics;
mod provisional;
mod read;
mod recently_changed;
mod refresher;
mod runs;
mod single_flight;
mod tiered;
mod vanished;
mod works;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cache::AnyCache;
use crate::feed::AnyFeed;
use crate::runtime::{Health, supervise_part};
use crate::store::AnyStore;

pub use actors::{Actor, ActorError, CacheAnswer, CacheHandle, DemandHandle, OfferOutcome, StoreHandle, StoreOptions};
pub use create::{CreateWork, latest_run_at, requested_args};
pub use demand::{DemandError, DemandIdentity, DemandService, DemandServing};
pub use idempotency::{IdempotentRequests, KeyError, KeyedAnswer, KeyedRequest, Scope, forget_expired_keys};
pub use provisional::ProvisionalWork;
pub use read::{Read, Source, WorkOrDemand};
pub use refresher::Refresher;
pub use runs::{Beat, ClaimError, Heartbeat, Over, RunEnd, RunLimits, RunService, RunServing};
pub use tiered::Near;
pub use works::{BoundedKey, Works};

/// The caches of a process.
#[derive(Clone)]
pub struct Caches {
    /// The main cache; with `redis:` all processes share it.
    pub cache: AnyCache,
    /// The optional near cache in front of it.
    pub near: Option<Arc<Near>>,
    /// The maximum age of a served entry.
    pub staleness: Duration,
}

/// The running tasks of the serving side. The owner stops them.
pub struct Serving {
    store: Actor,
    cache: Actor,
    works: Works,
    refreshers: JoinSet<()>,
    stop: CancellationToken,
}

impl Serving {
    /// Starts everything on the current runtime.
    pub fn start(
        store: &AnyStore,
        feed: &AnyFeed,
        caches: &Caches,
        options: StoreOptions,
        health: &Health,
    ) -> (Self, Works) {
        let stop = CancellationToken::new();
        let (store_actor, store_handle) = StoreHandle::start(store, feed, options);
        let (cache_actor, cache_handle) =
            CacheHandle::start(&caches.cache, health.part("cache", false), options.mailbox);
        let works = Works::new(
            store_handle,
            cache_handle,
            caches.near.clone(),
            caches.staleness,
            options,
        );
        let mut refreshers = JoinSet::new();
        for (name, refresher) in caches.refreshers(store, feed) {
            let part = health.part(name, false);
            refreshers.spawn(supervise_part(name, part, stop.clone(), move |part, stop| {
                refresher.clone().run(part, stop)
            }));
        }
        let serving = Self {
            store: store_actor,
            cache: cache_actor,
            works: works.clone(),
            refreshers,
            stop,
        };
        (serving, works)
    }

    /// Stops the parts, callers before callees. Each may take up to the grace period.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        let _ = timeout(grace, self.works.stop()).await;
        let _ = timeout(grace, self.cache.stop()).await;
        let _ = timeout(grace, self.store.stop()).await;
        let _ = timeout(grace, self.refreshers.join_all()).await;
    }
}

impl Caches {
    fn refreshers(&self, store: &AnyStore, feed: &AnyFeed) -> Vec<(&'static str, Refresher)> {
        let cache = Arc::clone(&self.cache);
        let refresher = Refresher::new(store.clone(), cache, feed.clone(), self.staleness);
        let mut refreshers = vec![("refresher", refresher)];
        if let Some(near) = &self.near {
            let near = Refresher::for_near(store.clone(), Arc::clone(near), feed.clone(), self.staleness);
            refreshers.push(("near refresher", near));
        }
        refreshers
    }
}
