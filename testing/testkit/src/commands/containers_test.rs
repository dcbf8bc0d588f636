//! `containers-test`: the images and docker-compose.yml on an engine.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use pp_testkit::servers::Choice;
use pp_testkit::{compose, output};

pub(crate) fn run() -> Result<ExitCode> {
    Choice::Compose.is_compose()?;
    let begun = Instant::now();
    compose::check(|held| output::line(&format!("{:>5.0} s  {held}", begun.elapsed().as_secs_f32())))?;
    output::line("PP runs as containers");
    Ok(ExitCode::SUCCESS)
}
