//! The worker takes demands from the broker, runs the handlers of their kinds, records the outcomes and acknowledges.
//! Creating demands is not done here.

mod announcing;
mod attempt;
mod batch;
mod completion;
mod consumer;
mod decoding;
#[cfg(feature = "testing")]
mod drain;
mod group_result;
mod insertion;
mod isolation;
mod keeper;
mod lane;
pub(crate) mod metrics;
mod remaining;
mod rows;
mod running;

pub use announcing::{announce, declare};
pub use consumer::{ConsumeSettings, Consumer};
#[cfg(feature = "testing")]
pub(crate) use drain::work_off;
pub use keeper::QueueKeeper;
