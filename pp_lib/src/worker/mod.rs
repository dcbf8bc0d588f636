//! The worker takes demands from the broker, runs their [`Computation`](crate::domain::Computation), records the
//! outcomes and acknowledges. Creating demands is not done here.

mod attempt;
mod batch;
mod blocking;
mod completion;
mod computation;
mod consumer;
mod decoding;
mod group_result;
mod handlers;
mod insertion;
mod isolation;
mod lane;
mod running;

pub use blocking::{Blocking, BlockingComputation, Cancelled};
pub use computation::computation;
pub use consumer::{ConsumeSettings, Consumer};
pub use handlers::{Handler, announce};
