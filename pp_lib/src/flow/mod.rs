//! What the programs run: flows over the ports, without HTTP and without SQL.

mod identity;

pub use identity::{new_message_id, new_work_code};
