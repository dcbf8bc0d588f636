//! What keeps the database in order beside the work itself: rows that are due become demands, leases that ran out are
//! ended, dead letters become rows, counters are rolled up, and old rows are pruned.

mod dead_letter_drainer;
mod dispatcher;
mod pruner;
mod rollup;

pub use dead_letter_drainer::Drainer;
pub use dispatcher::{DispatchSettings, Dispatcher};
