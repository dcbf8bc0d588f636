//! API keys in a process: how they are made and read, and which are valid. What a key allows is in `domain`, where keys
//! are kept is the store's.

mod key;
mod ring;

use std::time::Duration;

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

pub use key::{ApiKey, ApiKeyError};
pub use ring::KeyRing;

use crate::log_repeated;
use crate::store::AnyStore;

/// The interval between removals of old rows of the audit, and the number removed by one statement.
const CLEANING: Duration = Duration::from_secs(600);
const CLEANING_BATCH: u16 = 1000;

/// Removes rows of the audit that are older than `kept`, every ten minutes until the shutdown.
pub async fn forget_old_audit(store: AnyStore, kept: Duration, shutdown: CancellationToken) {
    let cleaning = async {
        let mut pauses = interval(CLEANING);
        loop {
            pauses.tick().await;
            loop {
                match store.purge_audit(kept, CLEANING_BATCH).await {
                    Ok(purged) if purged == u64::from(CLEANING_BATCH) => {}
                    Ok(_) => break,
                    Err(error) => {
                        log_repeated!(Warn, "old rows of the audit stay for another ten minutes", "{error}");
                        break;
                    }
                }
            }
        }
    };
    shutdown.run_until_cancelled(cleaning).await;
}
