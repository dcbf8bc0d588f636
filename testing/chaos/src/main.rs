//! `pp_chaos`: proves under faults that nothing is lost, nothing takes effect twice, and no read is too stale.
//!
//! Only the command line lives here; each command has a file of its own in `commands`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what this program prints is its result"
)]

mod commands {
    //! One file for each command.

    pub(crate) mod faults;
    pub(crate) mod staleness;
}

use std::process::ExitCode;

use clap::Parser;

use crate::commands::{faults, staleness};

/// PP under faults.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
enum Command {
    /// Proves that nothing acknowledged is lost and nothing takes effect twice.
    Faults(faults::Args),
    /// Proves that no read is staler than the bound.
    Staleness(staleness::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Faults(args) => faults::run(&args),
        Command::Staleness(args) => staleness::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pp_chaos: {error:#}");
        ExitCode::FAILURE
    })
}
