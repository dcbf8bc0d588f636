//! `install`: the packages that are missing.
//!
//! The other commands call [`ensure`] before they start private servers.

use std::process::ExitCode;

use anyhow::Result;
use pp_testkit::install;
use pp_testkit::programs::Program;
use pp_testkit::servers::Kind;

use super::output;

pub(crate) fn run() -> Result<ExitCode> {
    ensure_all(&[Kind::ALL.map(Program::from).as_slice(), &[Program::Pooler]].concat())?;
    output::line("PostgreSQL, RabbitMQ, Redis and PgBouncer are installed");
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing and tells so, on standard error: the output may be another command's.
pub(crate) fn ensure(kinds: &[Kind]) -> Result<()> {
    ensure_all(&kinds.iter().copied().map(Program::from).collect::<Vec<_>>())
}

/// The same for programs that are no servers.
pub(crate) fn ensure_all(programs: &[Program]) -> Result<()> {
    install::install(programs, |packages| eprintln!("pp_testkit: installing {packages}"))?;
    Ok(())
}
