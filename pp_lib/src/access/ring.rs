//! The valid keys of a store, in memory. A request asks no database: a task looks every second if keys have changed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ApiKey;
use crate::domain::{KeyDigest, KeyInfo};
use crate::runtime::{Retry, supervise};
use crate::store::{AnyStore, Result};

/// The interval of looks at the store.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two looks for a key that is unknown here.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The valid keys as of a second ago. While the store is away, those known stay valid. Clones share them.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    store: AnyStore,
    known: RwLock<Known>,
    last_look: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    /// `None` until the store has answered.
    revision: Option<i64>,
    keys: HashMap<KeyDigest, Arc<KeyInfo>>,
}

impl KeyRing {
    /// The keys of this store, none at first.
    pub fn new(store: AnyStore) -> Self {
        Self(Arc::new(Inner {
            store,
            known: RwLock::default(),
            last_look: Mutex::default(),
        }))
    }

    /// Follows the store until `shutdown` is cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let token = shutdown.clone();
        supervise("keys", None, shutdown, (), move |()| {
            self.clone().refresh_regularly(token.clone()).boxed()
        })
        .await;
    }

    async fn refresh_regularly(self, shutdown: CancellationToken) {
        let mut retry = Retry::new("reading the API keys");
        while !shutdown.is_cancelled() {
            // A store that does not answer does not hold up the end.
            let Some(refreshed) = shutdown.run_until_cancelled(self.refresh()).await else {
                break;
            };
            match refreshed {
                Ok(()) => {
                    retry.recovered();
                    shutdown.run_until_cancelled(sleep(INTERVAL)).await;
                }
                Err(error) => {
                    retry.wait(&error, &shutdown).await;
                }
            }
        }
    }

    /// Reads the keys if they have changed.
    pub async fn refresh(&self) -> Result<()> {
        self.look(&mut *self.0.last_look.lock().await).await
    }

    async fn look(&self, last_look: &mut Option<Instant>) -> Result<()> {
        *last_look = Some(Instant::now());
        let revision = Some(self.0.store.keys_revision().await?);
        if self.0.known.read().unwrap_or_else(PoisonError::into_inner).revision == revision {
            return Ok(());
        }
        let keys = self.0.store.valid_keys().await?;
        let keys = keys.into_iter().map(|(digest, key)| (digest, Arc::new(key))).collect();
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Known { revision, keys };
        Ok(())
    }

    /// The store that has the keys.
    pub fn store(&self) -> &AnyStore {
        &self.0.store
    }

    /// True if there is a valid key.
    pub fn has_keys(&self) -> bool {
        !self
            .0
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys
            .is_empty()
    }

    /// The valid key with this digest. An unknown one is looked for in the store, at most ten times a second; calls at
    /// the same time share a look.
    pub async fn find(&self, key: &ApiKey) -> Option<Arc<KeyInfo>> {
        let digest = key.digest();
        let known = self.known(&digest);
        if known.is_some() {
            return known;
        }
        let called_at = Instant::now();
        let mut last_look = self.0.last_look.lock().await;
        match *last_look {
            Some(begun_at) if begun_at >= called_at => return self.known(&digest),
            Some(begun_at) => sleep_until(begun_at + SHORTEST_INTERVAL).await,
            None => {}
        }
        if let Err(error) = self.look(&mut last_look).await {
            log::debug!("the API keys were not read: {error}");
        }
        drop(last_look);
        self.known(&digest)
    }

    fn known(&self, digest: &KeyDigest) -> Option<Arc<KeyInfo>> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.get(digest).map(Arc::clone)
    }
}
