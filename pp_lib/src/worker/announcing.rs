//! Tells the store of the kinds that a process has handlers for.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::{KindName, Principal, WorkerName};
use crate::kinds::{HandledKind, Kinds, Registry};
use crate::log_repeated;
use crate::runtime::Retry;
use crate::store::{AnyStore, MOST_KINDS, Result};

/// The interval at which a worker is heard of. A third of the time after which it counts as gone.
const INTERVAL: Duration = Duration::from_secs(5);

/// Declares the kinds of these handlers, then tells the store that their worker is there, until `shutdown` is cancelled. If
/// it pushes, it is the worker of all kinds of the registry that are pushed.
pub async fn announce(
    store: AnyStore,
    worker: WorkerName,
    handled: Kinds,
    pushes: Option<Registry>,
    shutdown: CancellationToken,
) {
    let mut retry = Retry::new("declaring the kinds");
    let mut known = false;
    while !shutdown.is_cancelled() {
        let mut kinds: Vec<KindName> = handled.iter().map(|kind| kind.name.clone()).collect();
        let pushed = pushes.as_ref().map(Registry::pushed).unwrap_or_default();
        kinds.extend(pushed.into_iter().filter(|name| handled.get(name).is_none()));
        match heartbeat(&store, &worker, &handled, &kinds, &mut known).await {
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

/// Declares these kinds. Returns those for which there is no room.
pub async fn declare(store: &AnyStore, kinds: &Kinds) -> Result<Vec<KindName>> {
    let mut refused = Vec::new();
    for HandledKind { name, declaration, .. } in kinds.iter() {
        if store
            .declare(&Principal::Service, name, &declaration.json())
            .await?
            .is_none()
        {
            refused.push(name.clone());
        }
    }
    Ok(refused)
}

/// Declares at the first time, and again when the store lost a declaration.
async fn heartbeat(
    store: &AnyStore,
    worker: &WorkerName,
    handled: &Kinds,
    kinds: &[KindName],
    known: &mut bool,
) -> Result<()> {
    if !*known {
        for name in declare(store, handled).await? {
            log_repeated!(Error, "a kind is not declared", "{name}: there are {MOST_KINDS} kinds");
        }
        *known = true;
    }
    store.workers_heard(&[(worker.clone(), kinds.to_vec())]).await?;
    *known = store.worker_seen(kinds).await? >= kinds.len() as u64;
    Ok(())
}
