//! How many API processes a deployment has, for what only one can do alone. Each holds a lease of its own in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::runtime::new_message_id;
use crate::store::AnyStore;

/// What the leases' names begin with.
const PREFIX: &str = "api/";
/// How long a process counts that fell silent.
const HOLD: Duration = Duration::from_secs(15);
/// How often each says that it is there, and counts.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a stop waits for the store to forget this process.
const FAREWELL: Duration = Duration::from_secs(2);

/// Counts this process among the others.
pub(super) struct Census {
    counted: Counted,
    stop: CancellationToken,
    counting: JoinHandle<()>,
}

/// What was counted last; 0 until that succeeded. While the store is away it stays as it was.
#[derive(Clone, Default)]
pub(super) struct Counted(Arc<AtomicU64>);

impl Counted {
    /// Whether this process is the only one, as far as is known.
    pub(super) fn alone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

impl Census {
    /// Counts once, then goes on in the background.
    pub(super) async fn begin(store: AnyStore) -> Self {
        let (counted, stop) = (Counted::default(), CancellationToken::new());
        let name = format!("{PREFIX}{}", new_message_id());
        count(&store, &name, &counted).await;
        let counting = {
            let (counted, stop) = (counted.clone(), stop.clone());
            tokio::spawn(async move {
                while stop.run_until_cancelled(sleep(PAUSE)).await.is_some() {
                    count(&store, &name, &counted).await;
                }
                let _ = timeout(FAREWELL, store.release(&name, &name)).await;
            })
        };
        Self {
            counted,
            stop,
            counting,
        }
    }

    /// What is counted.
    pub(super) fn counted(&self) -> Counted {
        self.counted.clone()
    }

    /// The others need not count this process any more.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.counting.await {
            log::error!("counting the API processes ended: {error}");
        }
    }
}

async fn count(store: &AnyStore, name: &str, counted: &Counted) {
    let counting = async {
        store.hold(name, name, HOLD).await?;
        store.held(PREFIX).await
    };
    match counting.await {
        Ok(held) => counted.0.store(held, Ordering::Relaxed),
        Err(error) => log::debug!("how many API processes there are is not known: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn one_is_alone_until_another_comes_and_again_when_it_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite");
        let store = SqliteStore::open(file.to_str().unwrap(), 1, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        let store: AnyStore = Arc::new(store);
        let one = Census::begin(store.clone()).await;
        assert!(one.counted().alone());
        let two = Census::begin(store.clone()).await;
        assert!(!two.counted().alone());
        one.end().await;
        let three = Census::begin(store.clone()).await;
        assert!(!three.counted().alone());
        two.end().await;
        three.end().await;
        assert_eq!(store.held(PREFIX).await.unwrap(), 0);
    }

    #[test]
    fn nobody_is_alone_before_that_was_counted() {
        assert!(!Counted::default().alone());
    }
}
