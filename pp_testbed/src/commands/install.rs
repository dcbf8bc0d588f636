//! `install`: the packages that are missing.
//!
//! The other commands call [`ensure`] before they start private servers.

use std::process::ExitCode;

use anyhow::Result;
use pp_testbed::install;
use pp_testbed::servers::Kind;

use super::output;

pub(crate) fn run() -> Result<ExitCode> {
    ensure(&Kind::ALL)?;
    output::line("PostgreSQL, RabbitMQ and Redis are installed");
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing and tells so, on standard error: the output may be another command's.
pub(crate) fn ensure(kinds: &[Kind]) -> Result<()> {
    let missing = install::missing(kinds);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|kind| kind.package()).collect();
    eprintln!("pp_testbed: installing {}", packages.join(", "));
    install::install(kinds)?;
    Ok(())
}
