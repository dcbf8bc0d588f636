//! `install`: the packages that are missing.

use std::process::ExitCode;

use anyhow::Result;
use pp_testkit::install::ensure_all;
use pp_testkit::output;
use pp_testkit::programs::Program;
use pp_testkit::servers::Kind;

pub(crate) fn run() -> Result<ExitCode> {
    ensure_all(
        &[
            Kind::ALL.map(Program::from).as_slice(),
            &[Program::Pooler, Program::Prometheus, Program::Browser],
        ]
        .concat(),
    )?;
    output::line("PostgreSQL, RabbitMQ, Redis, PgBouncer, Prometheus and Chromium are installed");
    Ok(ExitCode::SUCCESS)
}
