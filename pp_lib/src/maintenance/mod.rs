//! Keeps the database in order: sends due rows, ends expired leases, stores dead letters, rolls up counters and prunes
//! old rows.

mod clock;
mod dead_letter_drainer;
mod dispatcher;
pub(crate) mod metrics;
mod pruner;
mod rollup;
mod upkeep;

pub use dead_letter_drainer::DeadLetterDrainer;
pub use dispatcher::{DispatchSettings, Dispatcher};
pub use upkeep::{MAX_LOST_LEASES, keep_rows, upkeep};
