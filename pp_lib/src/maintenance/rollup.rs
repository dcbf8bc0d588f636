//! The counters' chore: what the changes said for them is folded once a second, by every service that dispatches.
//!
//! Beside dispatching and not within its rounds: a fold that waits, as for a rebuild, holds up no work. What is not
//! folded counts all the same; it only makes reading the counters dearer.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::runtime::Retry;
use crate::store::AnyStore;

const PAUSE: Duration = Duration::from_secs(1);

/// Folds until `shutdown` is cancelled.
pub(super) async fn fold_views(store: &AnyStore, shutdown: &CancellationToken) {
    let mut patience = Retry::new("folding the counters");
    let folding = async {
        loop {
            match store.fold().await {
                Ok(folded) => {
                    log::trace!("{folded} rows of counters folded");
                    patience.recovered();
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    patience.wait(&error, shutdown).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(folding).await;
}
