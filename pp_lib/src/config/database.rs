//! Where the database is and how long to wait for it.

use std::time::Duration;

use clap::Args;

use super::{duration, whole};

/// The settings of the store.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// Connections to PostgreSQL, or readers of a SQLite file.
    #[arg(long = "database-pool", env = "PP_DATABASE_POOL", default_value = "8", value_parser = whole(1..=200_u32))]
    pub pool: u32,

    /// How long one call may take, waiting for a connection and repeats included [unit: duration, as in 5s].
    #[arg(long = "database-timeout", env = "PP_DATABASE_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}
