//! Rolls up the changes of the counters once a second, in every dispatching service.
//!
//! It runs beside the dispatching rounds, so that a roll-up that waits for a rebuild delays no work. Pending changes
//! count
//! too; they only make reads of the counters slower.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::runtime::Retry;
use crate::store::AnyStore;

const PAUSE: Duration = Duration::from_secs(1);

/// Rolls up until `shutdown` is cancelled.
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
