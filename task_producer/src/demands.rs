//! Builds demands: those of a tick, and those outside of a schedule.

use pp_lib::domain::{AddUpTo, KindName};
use pp_lib::enqueue::NewDemand;
use pp_lib::runtime::new_message_id;
use rand::RngExt as _;

use crate::ProducerConfig;
use crate::slots::{Schedule, Slot, message_id};

/// The largest random bound.
const MAX_RANDOM_BOUND: u8 = 99;

/// The demands of a slot. Their bounds are derived from their ids, so that two producers make identical demands.
pub(crate) fn of_slot(config: &ProducerConfig, schedule: &Schedule, slot: Slot) -> impl Iterator<Item = NewDemand> {
    (0..config.count).map(move |index| {
        let id = slot.demand_id(schedule, &config.queue_prefix, index);
        // The remainder of 128 bits makes all bounds equally likely, to 36 decimals.
        let bound = config
            .add_up_to
            .unwrap_or_else(|| bound((id.as_u128() % u128::from(MAX_RANDOM_BOUND)) as u8));
        NewDemand {
            kind: KindName::default(),
            message_id: message_id(id),
            args: bound.args(),
            work_code: None,
            unique: None,
        }
    })
}

/// Demands outside of a schedule, each with a new id.
pub(crate) fn fresh(config: &ProducerConfig) -> impl Iterator<Item = NewDemand> {
    std::iter::repeat_with(|| NewDemand {
        kind: KindName::default(),
        message_id: new_message_id(),
        args: (config.add_up_to)
            .unwrap_or_else(|| bound(rand::rng().random_range(0..MAX_RANDOM_BOUND)))
            .args(),
        work_code: None,
        unique: None,
    })
}

fn bound(below_most: u8) -> AddUpTo {
    AddUpTo::try_from(i64::from(below_most) + 1).unwrap_or(AddUpTo::MIN)
}
