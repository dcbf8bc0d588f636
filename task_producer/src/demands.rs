//! Builds demands: those of a tick, and those outside of a schedule.

use pp_lib::domain::AddUpTo;
use pp_lib::enqueue::NewDemand;
use pp_lib::runtime::new_message_id;
use rand::RngExt as _;

use crate::ProducerConfig;
use crate::slots::{Schedule, Slot, message_id};

/// The largest random bound.
const MAX_RANDOM_BOUND: u8 = 99;

/// The demands of a slot. Their bounds are derived from their ids, so that two producers make identical demands.
pub(crate) fn of_slot(config: &ProducerConfig, schedule: &Schedule, slot: Slot) -> impl Iterator<Item = NewDemand> {
    let source = format!("{}{}", config.queue_prefix, config.identity);
    (0..config.count).map(move |index| {
        let id = slot.demand_id(schedule, &source, index);
        // The remainder of 128 bits makes all bounds equally likely, to 36 decimals.
        let random = || bound((id.as_u128() % u128::from(MAX_RANDOM_BOUND)) as u8).args();
        NewDemand {
            kind: config.kind.clone(),
            message_id: message_id(id),
            args: config.args.clone().unwrap_or_else(random),
            work_code: None,
            unique: None,
        }
    })
}

/// Demands outside of a schedule, each with a new id.
pub(crate) fn fresh(config: &ProducerConfig) -> impl Iterator<Item = NewDemand> {
    std::iter::repeat_with(|| NewDemand {
        kind: config.kind.clone(),
        message_id: new_message_id(),
        args: (config.args.clone()).unwrap_or_else(|| bound(rand::rng().random_range(0..MAX_RANDOM_BOUND)).args()),
        work_code: None,
        unique: None,
    })
}

fn bound(below_most: u8) -> AddUpTo {
    AddUpTo::try_from(i64::from(below_most) + 1).unwrap_or(AddUpTo::MIN)
}
