//! The settings for start, stop and log.

use std::time::Duration;

use clap::{Args, ValueEnum};

use pp_lib::domain::Json;

use super::{TlsArgs, duration, size};

/// The bounds of `PP_ARGS_LIMIT`, in bytes.
const SMALLEST_ARGS_LIMIT: u64 = 1 << 10;
const LARGEST_ARGS_LIMIT: u64 = Json::LARGEST_LIMIT as u64;

/// The settings of every program.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Process")]
pub struct RuntimeArgs {
    /// The time to wait for servers at start [unit: duration, as in 60s].
    #[arg(long, env = "PP_STARTUP_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub startup_timeout: Duration,

    /// The time a stop may take before it abandons running work [unit: duration, as in 20s].
    #[arg(long, env = "PP_GRACE", default_value = "20s", value_parser = duration)]
    pub grace: Duration,

    /// The maximum size of a work's arguments, and of its result; the same for all programs [unit: bytes, as in 64KiB].
    #[arg(long, env = "PP_ARGS_LIMIT", value_name = "SIZE", default_value = "64KiB", value_parser = size(SMALLEST_ARGS_LIMIT..=LARGEST_ARGS_LIMIT))]
    pub args_limit: usize,

    /// The level of the log: error, warn, info, debug, trace, or filters such as `info,pp_lib=debug`.
    #[arg(long, env = "PP_LOG", default_value = "info")]
    pub log: String,

    /// The format of log lines.
    #[arg(long, env = "PP_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What the process trusts as a client.
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}
