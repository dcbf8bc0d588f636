//! What the programs run: flows over the ports, without HTTP and without SQL.

mod attempt;
mod blocking;
mod consume;
mod dispatch;
mod identity;
mod intake;
mod paced;
mod patience;
mod running;
mod settle;

pub use blocking::{Blocking, BlockingComputation, Cancelled};
pub use consume::{ConsumeSettings, Consumer};
pub use dispatch::{DispatchError, DispatchSettings, Dispatcher};
pub use identity::{new_message_id, new_work_code};
pub use paced::{Paced, computation};
pub use patience::Patience;
