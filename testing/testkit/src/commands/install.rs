//! `install`: the packages that are missing.

use std::process::ExitCode;

use anyhow::Result;
use pp_testkit::install::ensure_all;
use pp_testkit::output;
use pp_testkit::programs::Program;
use pp_testkit::servers::Kind;

pub(crate) fn run() -> Result<ExitCode> {
    ensure_all(&[Kind::ALL.map(Program::from).as_slice(), &Program::OF_TESTS].concat())?;
    output::line("PostgreSQL, RabbitMQ, Redis and what the tests start themselves are installed");
    Ok(ExitCode::SUCCESS)
}
