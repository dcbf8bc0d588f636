//! Upkeep where there is no dispatching service: a system of the API and workers that claim over HTTP needs no other.
//!
//! Every API does it. What two do at once is done once, since the store guards it; purging is under a lease.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::metrics;
use super::pruner::{Scope, purge};
use super::rollup::roll_up_views;
use crate::feed::AnyFeed;
use crate::kinds::{Delivery, KnownKind};
use crate::log_repeated;
use crate::runtime::Retry;
use crate::store::{AnyStore, Result};

/// The number of leases that a work may lose. It is far higher than the limit of failures, because a lost worker is rarely
/// the work's fault.
pub const MAX_LOST_LEASES: i32 = 20;

/// The number of rows rescued together.
const BATCH: u16 = 1000;
/// The interval of rescues, and of looks at the store's clock.
const INTERVAL: Duration = Duration::from_secs(1);
/// The interval of looks for rows that were sent before their kind was claimed by workers.
const RELEASE_INTERVAL: Duration = Duration::from_secs(10);

/// Ends expired leases, rolls up counters and purges works of kinds that workers claim, until `shutdown` is cancelled.
pub async fn upkeep(store: AnyStore, feed: AnyFeed, shutdown: CancellationToken) {
    tokio::join!(
        rescue_regularly(&store, &feed, &shutdown),
        roll_up_views(&store, &shutdown),
        purge(&store, Scope::Pulled, &shutdown)
    );
}

async fn rescue_regularly(store: &AnyStore, feed: &AnyFeed, shutdown: &CancellationToken) {
    let (mut clock, mut retry, mut next_release) = (Clock::default(), Retry::new("upkeep"), Instant::now());
    while !shutdown.is_cancelled() {
        match round(store, feed, &mut clock, &mut next_release).await {
            Ok(()) => {
                retry.recovered();
                shutdown.run_until_cancelled(sleep(INTERVAL)).await;
            }
            Err(error) => {
                retry.wait(&error, shutdown).await;
            }
        }
    }
}

async fn round(store: &AnyStore, feed: &AnyFeed, clock: &mut Clock, next_release: &mut Instant) -> Result<()> {
    clock.check(store).await?;
    rescue(store, feed, MAX_LOST_LEASES).await?;
    if Instant::now() >= *next_release {
        release_pulled(store, feed).await?;
        *next_release = Instant::now() + RELEASE_INTERVAL;
    }
    Ok(())
}

/// Makes running works pending again whose lease ran out.
pub(super) async fn rescue(store: &AnyStore, feed: &AnyFeed, max_lost: i32) -> Result<()> {
    let rescued = store.rescue(max_lost, BATCH).await?;
    if rescued > 0 {
        log_repeated!(Warn, "works lost their worker", "{rescued} of them");
        metrics::lost_leases(rescued);
        feed.poke();
    }
    Ok(())
}

/// Makes works due that were sent before their kind was claimed by workers. Their messages change nothing any more.
async fn release_pulled(store: &AnyStore, feed: &AnyFeed) -> Result<()> {
    let kinds = store.kinds().await?.into_iter().map(KnownKind::of_row);
    for kind in kinds.filter(|kind| kind.delivery == Delivery::Pull) {
        let released = store.release_sent(kind.name(), Duration::ZERO).await?;
        if released > 0 {
            log::info!(
                "{released} works of kind {} that were sent are claimed by workers now",
                kind.name()
            );
            feed.poke();
        }
    }
    Ok(())
}
