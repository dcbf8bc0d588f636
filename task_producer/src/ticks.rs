//! The producer on its schedule: waits for each slot and delivers its demands.
//!
//! Slots that fell due while the broker was away or the machine slept follow late and in order, up to a limit. Slots
//! before the start are skipped, except for the number to catch up on.
//!
//! If the clock is set back, the schedule continues from the new time. Repeated slots have the same ids, so no demand
//! is made twice.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use pp_lib::log_repeated;

use crate::clock::Clock;
use crate::outlet::Outlet;
use crate::slots::{Schedule, Slot};
use crate::{ProducerConfig, demands};

/// The delay from which a slot is logged as late.
const LATE: TimeDelta = TimeDelta::seconds(1);

/// The largest delay at which a slot is still produced. Without this limit a machine that slept for a week would make
/// up for all of it.
const MAX_LATE: TimeDelta = TimeDelta::hours(1);

/// The interval of looks at the clock during a wait. A timer does not notice that the clock was set or that the
/// machine slept.
const CLOCK_CHECK: Duration = Duration::from_secs(10);

/// Catches up, then produces slot by slot until the shutdown.
pub(crate) async fn run(
    config: &ProducerConfig,
    schedule: &Schedule,
    outlet: &Outlet,
    clock: impl Fn() -> DateTime<Utc>,
) {
    log::info!("producing {} per tick of {schedule}", config.count);
    let mut clock = Clock::new(clock);
    let start = clock.now();
    catch_up(config, schedule, outlet, start).await;
    let mut next = schedule.next_after(start);
    loop {
        if let Some(back_to) = look(&mut clock) {
            next = schedule.next_after(back_to);
        }
        next = skip_late_slots(schedule, next, clock.now());
        let Some(slot) = next else {
            log::warn!("{schedule} never ticks again; waiting for the stop");
            return outlet.shutdown().cancelled().await;
        };
        match wait_for(slot, outlet, &mut clock).await {
            Wait::Due => {
                produce(config, schedule, slot, outlet, clock.now()).await;
                next = schedule.following(&slot);
            }
            Wait::Back(moment) => next = schedule.next_after(moment),
            Wait::Stop => return,
        }
    }
}

/// The reason why the wait for a slot is over.
enum Wait {
    Due,
    /// The clock was set back to this moment.
    Back(DateTime<Utc>),
    Stop,
}

/// Logs a jump of the clock. If it was set back, the answer is the moment to continue from.
fn look(clock: &mut Clock<impl Fn() -> DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let jump = clock.look()?;
    let (seconds, now) = (
        jump.by.num_seconds(),
        jump.to.to_rfc3339_opts(SecondsFormat::Secs, true),
    );
    if seconds > 0 {
        log::warn!("the clock jumped {seconds} s forward to {now}, or the machine slept: missed slots follow");
        return None;
    }
    log::warn!(
        "the clock jumped {} s back to {now}: the schedule continues from there without repeats",
        -seconds
    );
    Some(jump.to)
}

/// Makes up for the last slots before the start, regardless of their age, because the operator asked for them.
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

fn skip_late_slots(schedule: &Schedule, next: Option<Slot>, now: DateTime<Utc>) -> Option<Slot> {
    let earliest = now - MAX_LATE;
    match next {
        Some(slot) if slot.at() <= earliest => {
            let until = earliest.to_rfc3339_opts(SecondsFormat::Secs, true);
            log_repeated!(
                Warn,
                "slots more than an hour late are skipped",
                "from {slot} to {until}"
            );
            schedule.next_after(earliest)
        }
        next => next,
    }
}

/// Waits until the slot is due, the clock is set back or the shutdown comes.
async fn wait_for(slot: Slot, outlet: &Outlet, clock: &mut Clock<impl Fn() -> DateTime<Utc>>) -> Wait {
    loop {
        if outlet.shutdown().is_cancelled() {
            return Wait::Stop;
        }
        if let Some(back_to) = look(clock) {
            return Wait::Back(back_to);
        }
        // The age is negative until the slot is due, so the conversion fails once it is.
        let Ok(remaining) = (-slot.age(clock.now())).to_std() else {
            return Wait::Due;
        };
        if remaining.is_zero() {
            return Wait::Due;
        }
        outlet
            .shutdown()
            .run_until_cancelled(tokio::time::sleep(remaining.min(CLOCK_CHECK)))
            .await;
    }
}

async fn produce(config: &ProducerConfig, schedule: &Schedule, slot: Slot, outlet: &Outlet, now: DateTime<Utc>) {
    let age = slot.age(now);
    let confirmed = outlet.deliver(demands::of_slot(config, schedule, slot)).await;
    let count = u64::from(config.count);
    if confirmed < count {
        log::warn!("slot {slot}: {confirmed} of {count} confirmed before the stop");
    } else if age > LATE {
        log_repeated!(
            Warn,
            "late slots",
            "{slot}, {} s late: {confirmed} confirmed",
            age.num_seconds()
        );
    } else {
        log::info!("slot {slot}: {confirmed} confirmed");
    }
}
