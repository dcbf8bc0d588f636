//! What the programs run: flows over the ports, without HTTP and without SQL.

mod create;
mod identity;
mod watch;

pub use create::WorkService;
pub use identity::{new_message_id, new_work_code};
pub use watch::watch_store;
