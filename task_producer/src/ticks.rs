//! The producer on its schedule: it waits for each slot in turn and hands its demands over.
//!
//! Slots that fell due meanwhile - the broker was away, the machine slept - follow late and in order, up to a bound.
//! Those from before the start are left alone, but for as many as it is told to make up for.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::outlet::Outlet;
use crate::slots::{Schedule, Slot};
use crate::{ProducerConfig, demands};

/// What is later than this is said to be late.
const PUNCTUAL: TimeDelta = TimeDelta::seconds(1);

/// What fell due since the start and is later than this is not produced any more, or a machine that slept for a week
/// would make up for all of it.
const TOO_LATE: TimeDelta = TimeDelta::hours(1);

/// The clocks are looked at this often while waiting: a timer does not notice that they were set or that the machine
/// slept.
const LOOK: Duration = Duration::from_secs(10);

/// Catches up, then produces slot by slot, from the first after the start until the shutdown.
pub(crate) async fn run(
    config: &ProducerConfig,
    schedule: &Schedule,
    outlet: &Outlet,
    clock: impl Fn() -> DateTime<Utc>,
) {
    log::info!("producing {} per tick of {schedule}", config.count);
    let mut last = clock();
    catch_up(config, schedule, outlet, last).await;
    loop {
        last = skip_what_is_too_late(schedule, last, clock());
        let Some(slot) = schedule.next_after(last) else {
            log::warn!("{schedule} never ticks again; waiting to be stopped");
            return outlet.shutdown().cancelled().await;
        };
        if !wait_for(slot, outlet, &clock).await {
            return;
        }
        produce(config, schedule, slot, outlet, clock()).await;
        last = slot.at();
    }
}

/// Makes up for the last slots before the start, however long ago they were: somebody asked for that many.
async fn catch_up(config: &ProducerConfig, schedule: &Schedule, outlet: &Outlet, start: DateTime<Utc>) {
    let slots = schedule.latest_until(start, config.catch_up);
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else {
        return;
    };
    log::info!("catching up on {} slots, {first} to {last}", slots.len());
    let count = slots.len() as u64 * u64::from(config.count);
    let demands = slots.iter().flat_map(|slot| demands::of_slot(config, schedule, *slot));
    let confirmed = outlet.deliver(demands).await;
    if confirmed < count {
        log::warn!("catching up: {confirmed} of {count} confirmed before the stop");
    } else {
        log::info!("caught up: {confirmed} confirmed");
    }
}

/// The moment after which to look for the next slot.
fn skip_what_is_too_late(schedule: &Schedule, last: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let earliest = now - TOO_LATE;
    match schedule.next_after(last) {
        Some(slot) if slot.at() <= earliest => {
            let until = earliest.to_rfc3339_opts(SecondsFormat::Secs, true);
            log::warn!("the slots from {slot} to {until} are skipped: they are more than an hour late");
            earliest
        }
        _ => last,
    }
}

/// Waits until it is time; whether it is, and not time to stop.
async fn wait_for(slot: Slot, outlet: &Outlet, clock: impl Fn() -> DateTime<Utc>) -> bool {
    loop {
        if outlet.shutdown().is_cancelled() {
            return false;
        }
        // Negative, and so no duration, once it is time.
        let Ok(remaining) = (-slot.age(clock())).to_std() else {
            return true;
        };
        if remaining.is_zero() {
            return true;
        }
        outlet
            .shutdown()
            .run_until_cancelled(tokio::time::sleep(remaining.min(LOOK)))
            .await;
    }
}

async fn produce(config: &ProducerConfig, schedule: &Schedule, slot: Slot, outlet: &Outlet, now: DateTime<Utc>) {
    let age = slot.age(now);
    let confirmed = outlet.deliver(demands::of_slot(config, schedule, slot)).await;
    let count = u64::from(config.count);
    if confirmed < count {
        log::warn!("slot {slot}: {confirmed} of {count} confirmed before the stop");
    } else if age > PUNCTUAL {
        log::warn!("slot {slot}, {} s late: {confirmed} confirmed", age.num_seconds());
    } else {
        log::info!("slot {slot}: {confirmed} confirmed");
    }
}
