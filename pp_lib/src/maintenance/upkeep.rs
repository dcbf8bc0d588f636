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
use crate::domain::{Json, KindName, Origin, args_of_body};
use crate::feed::AnyFeed;
use crate::kinds::KnownKind;
use crate::log_repeated;
use crate::runtime::{Part, Retry, new_work_code};
use crate::store::{AnyStore, DeadMessage, NewWork, Result};

/// The number of leases that a work may lose. It is far higher than the limit of failures, because a lost worker is rarely
/// the work's fault.
pub const MAX_LOST_LEASES: i32 = 20;

/// The number of rows rescued together.
const BATCH: u16 = 1000;
/// The number of redriven messages written together, and the time for which they are claimed.
const REDRIVEN_BATCH: u16 = 20;
const REDRIVEN_TIME: Duration = Duration::from_secs(12);
/// The interval of rescues, and of looks at the store's clock.
const INTERVAL: Duration = Duration::from_secs(1);
/// The interval of looks for rows that were sent before their kind was claimed by workers.
const RELEASE_INTERVAL: Duration = Duration::from_secs(10);

/// Ends expired leases, rolls up counters and purges works of kinds that workers claim, until `shutdown` is cancelled.
pub async fn upkeep(store: AnyStore, feed: AnyFeed, shutdown: CancellationToken) {
    tokio::join!(
        rescue_regularly(&store, &feed, Sent::OfClaimedKinds, None, &shutdown),
        roll_up_views(&store, &shutdown),
        purge(&store, Scope::Pulled, &shutdown)
    );
}

/// The same for all works of a system without a broker, in place of a dispatcher. `part` shows its health.
pub async fn keep_rows(store: AnyStore, feed: AnyFeed, retain: Duration, part: Part, shutdown: CancellationToken) {
    tokio::join!(
        rescue_regularly(&store, &feed, Sent::OfAllKinds, Some(part), &shutdown),
        roll_up_views(&store, &shutdown),
        purge(&store, Scope::All(retain), &shutdown)
    );
}

/// The rows that were sent to a queue which nobody reads any more.
#[derive(Clone, Copy, Debug)]
enum Sent {
    OfClaimedKinds,
    OfAllKinds,
}

async fn rescue_regularly(
    store: &AnyStore,
    feed: &AnyFeed,
    sent: Sent,
    part: Option<Part>,
    shutdown: &CancellationToken,
) {
    let mut retry = match part {
        Some(part) => Retry::shown("upkeep", part),
        None => Retry::new("upkeep"),
    };
    let (mut clock, mut next_release) = (Clock::default(), Instant::now());
    while !shutdown.is_cancelled() {
        let round = async {
            clock.check(store).await?;
            rescue(store, feed, MAX_LOST_LEASES).await?;
            if let Sent::OfAllKinds = sent {
                write_redriven(store, feed).await?;
            }
            if Instant::now() >= next_release {
                release(store, feed, sent).await?;
                next_release = Instant::now() + RELEASE_INTERVAL;
            }
            Ok(())
        };
        let done: Result<()> = round.await;
        match done {
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

/// Makes works due that were sent before they are claimed. Their messages change nothing any more.
async fn release(store: &AnyStore, feed: &AnyFeed, sent: Sent) -> Result<()> {
    let known = store.kinds().await?.into_iter().map(KnownKind::of_row);
    let claimed = known.filter(|kind| kind.delivery.is_claimed());
    let mut kinds: Vec<KindName> = claimed.map(|kind| kind.name().clone()).collect();
    if let Sent::OfAllKinds = sent {
        kinds.extend(store.pending_kinds().await?);
    }
    for kind in kinds {
        let released = store.release_sent(&kind, Duration::ZERO).await?;
        if released > 0 {
            log::info!("{released} works of kind {kind} that were sent to a queue are claimed from now on");
            feed.poke();
        }
    }
    Ok(())
}

/// Writes rows for redriven messages, which have none. One that cannot be read becomes a letter again.
async fn write_redriven(store: &AnyStore, feed: &AnyFeed) -> Result<()> {
    let redriven = store.claim_redriven(REDRIVEN_TIME, REDRIVEN_BATCH).await?;
    for one in &redriven {
        match args_of_body(&one.kind, &one.body, Json::LARGEST_LIMIT) {
            Ok(args) => {
                let work = NewWork {
                    kind: one.kind.clone(),
                    message_id: one.message_id.clone(),
                    work_code: new_work_code(Origin::Consumer),
                    args,
                    run_at: None,
                    unique: None,
                    notify: None,
                };
                if store.create(&[work]).await?.iter().any(Option::is_none) {
                    // Its code was taken. The next round finds it again.
                    continue;
                }
                store.end_redriven(std::slice::from_ref(one)).await?;
                feed.poke();
            }
            Err(invalid) => {
                let letter = DeadMessage {
                    kind: one.kind.clone(),
                    message_id: one.message_id.clone(),
                    properties: one.properties.clone(),
                    body: one.body.clone(),
                    reason: invalid.to_string(),
                };
                store.add_dead_letters(&[letter]).await?;
            }
        }
    }
    Ok(())
}
