//! Working off: demands are taken from the broker, computed, recorded and acknowledged. What a demand asks for is a
//! [`Computation`](crate::domain::Computation); how demands come to be is not decided here.

mod attempt;
mod batch;
mod blocking;
mod completion;
mod computation;
mod consumer;
mod decoding;
mod isolation;
mod running;

pub use blocking::{Blocking, BlockingComputation, Cancelled};
pub use computation::computation;
pub use consumer::{ConsumeSettings, Consumer};
