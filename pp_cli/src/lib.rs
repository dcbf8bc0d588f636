//! What a program of PP needs around the library: its settings, its log, its signals, the adapters that its
//! addresses name, and health checks of the servers. All that is process-wide is installed from here, by `main` alone.

pub mod config;
pub mod connect;
pub mod logging;
pub mod program;
pub mod shutdown;
pub mod watch;
