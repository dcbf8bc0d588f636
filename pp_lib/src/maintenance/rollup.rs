//! Rolls up the changes of the counters once a second, in every dispatching service.
//!
//! It runs beside the dispatching rounds, so that a roll-up that waits for a rebuild delays no work. Pending changes
//! count too; they only make reads of the counters slower.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::runtime::Retry;
use crate::store::AnyStore;

const PAUSE: Duration = Duration::from_secs(1);

/// Rolls up until `shutdown` is cancelled.
pub(super) async fn roll_up_views(store: &AnyStore, shutdown: &CancellationToken) {
    let mut retry = Retry::new("rolling up the counters");
    let rolling_up = async {
        loop {
            match store.roll_up().await {
                Ok(deltas) => {
                    log::trace!("{deltas} rows of counters rolled up");
                    retry.recovered();
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    retry.wait(&error, shutdown).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(rolling_up).await;
}
