//! The JSON that PP and its clients exchange, beyond the domain's own types: serde only, no transport.

mod demand;
mod problem;
mod provisional;

pub use demand::decode_demand;
pub use problem::Problem;
pub use provisional::ProvisionalWork;
