//! The parts that a program of PP needs around the library: settings, log, metrics, signals, adapters and health checks
//! of servers.
//!
//! Everything process-wide is installed here, and only `main` calls it.

pub mod config;
pub mod connect;
pub mod logging;
pub mod metrics;
pub mod program;
pub mod shutdown;
pub mod watch;
