//! The servers PP needs, for tests and for `make up`: PostgreSQL, RabbitMQ and Redis, started for whoever asks and
//! stopped without a trace.
//!
//! The modules in reading order: [`servers`] is what other test code uses; [`compose`] has servers and services as
//! containers; [`pooler`] has a connection pooler, [`prometheus`] what collects metrics, [`browser`] what opens pages; [`install`] and [`programs`] find or fetch the server programs;
//! [`certificates`] has those of TLS; [`process`], [`launch`], [`ports`] and [`wait`] are the tools beneath; [`state`] is what `make up` remembers between
//! two commands. [`service`], [`client`] and [`proxy`] are for tests of a running system: a program of PP, its client,
//! and the way in between; [`cli`] is for tests of command-line tools. [`output`] and [`signals`] are for programs that
//! run tests. The commands of `pp_testkit` belong to the binary.

pub mod browser;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod compose;
pub mod install;
pub mod launch;
pub mod logs;
pub mod output;
pub mod pooler;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod python;
pub mod servers;
pub mod service;
pub mod signals;
pub mod state;
pub mod wait;
