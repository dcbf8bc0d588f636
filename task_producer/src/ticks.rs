//! The producer on its schedule: it waits for each slot in turn and hands its demands over.
//!
//! Slots that fell due meanwhile - the broker was away, the machine slept - follow late and in order, up to a bound.
//! Those from before the start are left alone, but for as many as it is told to make up for.
//!
//! Where the clock is set back, the schedule goes on from the new time. Slots that come again have the ids they had, so
//! that nothing is made twice.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use pp_lib::log_repeated;

use crate::clock::Clock;
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
    let mut clock = Clock::new(clock);
    let start = clock.now();
    catch_up(config, schedule, outlet, start).await;
    let mut next = schedule.next_after(start);
    loop {
        if let Some(back_to) = look(&mut clock) {
            next = schedule.next_after(back_to);
        }
        next = skip_what_is_too_late(schedule, next, clock.now());
        let Some(slot) = next else {
            log::warn!("{schedule} never ticks again; waiting to be stopped");
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

/// Why the wait for a slot is over.
enum Wait {
    /// It is time.
    Due,
    /// The clock was set back to this moment.
    Back(DateTime<Utc>),
    /// It is time to stop.
    Stop,
}

/// Looks whether the clock was set and says so; the moment to go on from when it was set back.
fn look(clock: &mut Clock<impl Fn() -> DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let jump = clock.look()?;
    let (seconds, now) = (
        jump.by.num_seconds(),
        jump.to.to_rfc3339_opts(SecondsFormat::Secs, true),
    );
    if seconds > 0 {
        log::warn!(
            "the clock jumped {seconds} s forward to {now}, or the machine slept: what fell due meanwhile follows"
        );
        return None;
    }
    log::warn!(
        "the clock jumped {} s back to {now}: the schedule goes on from there, nothing is made twice",
        -seconds
    );
    Some(jump.to)
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

/// The next slot that is not too late.
fn skip_what_is_too_late(schedule: &Schedule, next: Option<Slot>, now: DateTime<Utc>) -> Option<Slot> {
    let earliest = now - TOO_LATE;
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

/// Waits until it is time.
async fn wait_for(slot: Slot, outlet: &Outlet, clock: &mut Clock<impl Fn() -> DateTime<Utc>>) -> Wait {
    loop {
        if outlet.shutdown().is_cancelled() {
            return Wait::Stop;
        }
        if let Some(back_to) = look(clock) {
            return Wait::Back(back_to);
        }
        // Negative, and so no duration, once it is time.
        let Ok(remaining) = (-slot.age(clock.now())).to_std() else {
            return Wait::Due;
        };
        if remaining.is_zero() {
            return Wait::Due;
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
