//! Counts the API processes of a deployment. Each holds a lease of its own in the store.
//!
//! Without a shared cache, demands are accepted only while there is a single process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::runtime::new_message_id;
use crate::store::AnyStore;

/// The prefix of the leases' names.
const PREFIX: &str = "api/";
/// The time after which a silent process no longer counts.
const HOLD: Duration = Duration::from_secs(15);
/// The interval between extensions of the lease and counts.
const PAUSE: Duration = Duration::from_secs(5);
/// The maximum time for releasing the lease at a stop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Holds this process' lease and counts the others.
pub(super) struct ApiInstances {
    count: InstanceCount,
    stop: CancellationToken,
    counting: JoinHandle<()>,
}

/// The last count; 0 until the first one succeeds. It stays unchanged while the store is unavailable.
#[derive(Clone, Default)]
pub(super) struct InstanceCount(Arc<AtomicU64>);

impl InstanceCount {
    /// True if this process was the only one at the last count.
    pub(super) fn is_alone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

impl ApiInstances {
    /// Counts once, then continues in the background.
    pub(super) async fn start(store: AnyStore) -> Self {
        let (count, stop) = (InstanceCount::default(), CancellationToken::new());
        let name = format!("{PREFIX}{}", new_message_id());
        update(&store, &name, &count).await;
        let counting = {
            let (count, stop) = (count.clone(), stop.clone());
            tokio::spawn(async move {
                while stop.run_until_cancelled(sleep(PAUSE)).await.is_some() {
                    update(&store, &name, &count).await;
                }
                let _ = timeout(RELEASE_TIMEOUT, store.release(&name, &name)).await;
            })
        };
        Self { count, stop, counting }
    }

    pub(super) fn count(&self) -> InstanceCount {
        self.count.clone()
    }

    /// Stops counting and releases the lease, so that the others no longer count this process.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.counting.await {
            log::error!("the task that counts API processes failed: {error}");
        }
    }
}

async fn update(store: &AnyStore, name: &str, count: &InstanceCount) {
    let counting = async {
        store.hold(name, name, HOLD).await?;
        store.held(PREFIX).await
    };
    match counting.await {
        Ok(held) => count.0.store(held, Ordering::Relaxed),
        Err(error) => log::debug!("the API processes were not counted: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn a_process_is_alone_until_another_starts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let store: AnyStore = Arc::new(store);
        let one = ApiInstances::start(store.clone()).await;
        assert!(one.count().is_alone());
        let two = ApiInstances::start(store.clone()).await;
        assert!(!two.count().is_alone());
        one.stop().await;
        let three = ApiInstances::start(store.clone()).await;
        assert!(!three.count().is_alone());
        two.stop().await;
        three.stop().await;
        assert_eq!(store.held(PREFIX).await.unwrap(), 0);
    }

    #[test]
    fn a_process_is_not_alone_before_the_first_count() {
        assert!(!InstanceCount::default().is_alone());
    }
}
