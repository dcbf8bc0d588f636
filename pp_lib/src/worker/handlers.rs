//! The kinds that a process has handlers for, declared to the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::{Computation, KindName};
use crate::kinds::Declaration;
use crate::log_repeated;
use crate::runtime::Retry;
use crate::store::{AnyStore, MOST_KINDS, Result};

/// The interval at which a worker is heard of. A third of the time after which it counts as gone.
const INTERVAL: Duration = Duration::from_secs(5);

/// A kind, and the code that does its works.
#[derive(Clone)]
pub struct Handler {
    /// The kind.
    pub kind: KindName,
    /// What it declares.
    pub declaration: Declaration,
    /// The code.
    pub computation: Arc<dyn Computation>,
}

/// Declares the kinds of these handlers, then tells the store that their worker is there, until `shutdown` is cancelled.
pub async fn announce(store: AnyStore, handlers: Vec<Handler>, shutdown: CancellationToken) {
    let kinds: Vec<KindName> = handlers.iter().map(|handler| handler.kind.clone()).collect();
    let mut retry = Retry::new("declaring the kinds");
    let mut known = false;
    while !shutdown.is_cancelled() {
        match heartbeat(&store, &handlers, &kinds, &mut known).await {
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

/// Declares at the first time, and again when the store lost a declaration.
async fn heartbeat(store: &AnyStore, handlers: &[Handler], kinds: &[KindName], known: &mut bool) -> Result<()> {
    if !*known {
        for handler in handlers {
            let declared = store.declare(&handler.kind, &handler.declaration.json()).await?;
            if declared.is_none() {
                log_repeated!(
                    Error,
                    "a kind is not declared",
                    "{}: there are {MOST_KINDS} kinds",
                    handler.kind
                );
            }
        }
        *known = true;
    }
    *known = store.worker_seen(kinds).await? >= kinds.len() as u64;
    Ok(())
}
