//! Keeps an eye on the store for the health pages, also while nobody asks it for anything.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::health::Part;
use crate::store::AnyStore;

const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);

/// Checks the store about once a second and records what it finds, until the shutdown.
pub async fn watch_store(store: AnyStore, part: Part, shutdown: CancellationToken) {
    shutdown
        .run_until_cancelled(async {
            loop {
                check(&store, &part).await;
                sleep(PAUSE).await;
            }
        })
        .await;
}

async fn check(store: &AnyStore, part: &Part) {
    match timeout(PATIENCE, store.check()).await {
        Ok(Ok(())) => part.up(),
        // The reason is shown to everybody, the driver's words are not.
        Ok(Err(error)) => {
            log::debug!("store check: {error}");
            part.down("the database is unavailable");
        }
        Err(_) => part.down("the database does not answer"),
    }
}
