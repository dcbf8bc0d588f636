//! How a program comes up, stops and logs.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;

/// The settings that every program has.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Process")]
pub struct RuntimeArgs {
    /// How long to wait at start for servers that are not there yet [unit: duration, as in 60s].
    #[arg(long, env = "PP_STARTUP_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub startup_timeout: Duration,

    /// How long a stop may take until what is in flight is abandoned [unit: duration, as in 20s].
    #[arg(long, env = "PP_GRACE", default_value = "20s", value_parser = duration)]
    pub grace: Duration,

    /// Which log lines are written: error, warn, info, debug, trace, or filters such as `info,pp_lib=debug`.
    #[arg(long, env = "PP_LOG", default_value = "info")]
    pub log: String,

    /// How log lines are written.
    #[arg(long, env = "PP_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}
