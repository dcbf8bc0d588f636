//! What the programs run: flows over the ports, without HTTP and without SQL.

mod attempt;
mod blocking;
mod bury;
mod caution;
mod computation;
mod consume;
mod create;
mod dispatch;
mod flights;
mod fold;
mod idempotency;
mod identity;
mod intake;
mod jobs;
mod patience;
mod produce;
mod running;
mod settle;
mod streams;
mod supervise;
mod watch;

pub use blocking::{Blocking, BlockingComputation, Cancelled};
pub use bury::Drainer;
pub use computation::computation;
pub use consume::{ConsumeSettings, Consumer};
pub use create::{Wanted, WorkService, latest_run_at};
pub use dispatch::{DispatchSettings, Dispatcher};
pub use idempotency::{Given, IdempotentRequests, KeyError, KeyedRequest, Scope, forget_expired_keys};
pub use identity::{new_message_id, new_work_code};
pub use patience::{Patience, Trouble};
pub use produce::{BrokerSink, DemandSink, NewDemand, SinkError, StoreSink};
pub use streams::{Filter, Message, StatsSubscription, Streams, StreamsError, StreamsOptions, Subscription};
pub use supervise::supervise;
pub use watch::{watch_broker, watch_store};
