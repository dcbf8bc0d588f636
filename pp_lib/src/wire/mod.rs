//! The JSON that PP and its clients exchange, beyond the domain's own types: and the frames of event streams: serde only,
//! no transport.

mod demand;
mod problem;
mod provisional;
pub mod sse;
mod streamed;

pub use demand::decode_demand;
pub use problem::Problem;
pub use provisional::ProvisionalWork;
pub use streamed::StreamedChange;
