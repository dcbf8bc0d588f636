//! What the shells run: the path of a work, over the ports and actors alone. No HTTP, no SQL.

mod create;
mod watch;

pub use create::WorkService;
pub use watch::watch_store;
