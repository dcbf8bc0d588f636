//! Keeps an eye on the servers for the health pages, also while nobody asks them for anything.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Trouble as _;
use crate::broker::{AnyBroker, Queue};
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

/// Checks the broker about once a second and records what it finds, until the shutdown.
pub async fn watch_broker(broker: AnyBroker, part: Part, shutdown: CancellationToken) {
    let watching = async {
        loop {
            match timeout(PATIENCE, broker.ready_messages(Queue::Demand)).await {
                Ok(Ok(_)) => part.up(),
                Ok(Err(error)) => {
                    log::debug!("broker check: {error}");
                    part.down(error.told());
                }
                Err(_) => part.down("the broker does not answer"),
            }
            sleep(PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(watching).await;
}

async fn check(store: &AnyStore, part: &Part) {
    let asked = timeout(PATIENCE, AssertUnwindSafe(store.check()).catch_unwind());
    // The reason is shown to everybody, the driver's words are not.
    match asked.await {
        Ok(Ok(Ok(()))) => part.up(),
        Ok(Ok(Err(error))) => {
            log::debug!("store check: {error}");
            part.down("the database is unavailable");
        }
        Ok(Err(_)) => part.down("the check of the database broke"),
        Err(_) => part.down("the database does not answer"),
    }
}
