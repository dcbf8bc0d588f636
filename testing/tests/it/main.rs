//! The tests of the testkit, and those of PP as several processes, in one program. What needs servers is in `on_servers`.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod access;
mod bench;
mod chaos;
mod containers;
mod crowd;
mod dice;
mod doctor;
mod env_file;
mod examples;
mod install_script;
mod load;
mod makefile;
pub(crate) mod metrics;
mod on_servers;
mod openapi;
mod owners;
mod page;
mod ports;
mod process_identity;
mod program;
mod push;
mod push_refusals;
mod quiet_log;
mod standalone;
mod start;
mod state_folder;
mod tls;
mod unread_log;
mod watch;
mod with_servers;
mod workers;
mod workers_over_tls;
