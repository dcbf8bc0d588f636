//! The servers PP needs, for tests and for `make up`: PostgreSQL, RabbitMQ and Redis, started for whoever asks and
//! stopped without a trace.
//!
//! The modules in reading order: [`servers`] is what other test code uses; [`compose`] has servers and services as
//! containers; [`pooler`] has a connection pooler; [`install`] and [`programs`] find or fetch the server programs; [`process`], [`launch`], [`ports`] and
//! [`wait`] are the tools beneath; [`state`] is what `make up` remembers between two commands. [`demands`] and [`ledger`]
//! put a system under load and look at what came of it; [`bench`] measures. The commands themselves belong to the binary.

pub mod bench;
pub mod chaos;
pub mod compose;
pub mod demands;
pub mod install;
pub mod launch;
pub mod ledger;
pub mod logs;
pub mod pooler;
pub mod ports;
pub mod process;
pub mod programs;
pub mod servers;
pub mod staleness;
pub mod state;
pub mod wait;
