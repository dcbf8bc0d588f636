//! `staleness`: proves that no read is staler than the bound, whatever happens to feed and cache.

use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, process};

use anyhow::{Context as _, Result};
use pp_chaos::staleness::{Plan, measure};
use pp_testkit::servers::Kind;
use pp_testkit::{install, output, signals};

/// `PP_STALENESS` of the services: its default.
const BOUND: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many changes are made.
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    changes: u32,
    /// How many works are changed and read.
    #[arg(long, default_value = "200", value_parser = clap::value_parser!(u16).range(1..=1000))]
    works: u16,
    /// What the faults and their times are drawn from; without one, a new one every time.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let stop = signals::stop()?;
    let plan = Plan {
        changes: args.changes,
        works: args.works,
        seed: args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
    };
    output::line(&format!(
        "seed {}: the same faults with `make staleness SEED={}`; what meets what differs each time",
        plan.seed, plan.seed
    ));
    install::ensure(&Kind::ALL)?;
    let folder = env::temp_dir().join(format!("pp-staleness-{}", process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let report = measure(plan, &folder, &stop).with_context(|| format!("logs in {}", folder.display()))?;
    output::line(&report.to_string());
    let bound = BOUND.as_millis();
    if report.is_within(BOUND) {
        fs::remove_dir_all(&folder)?;
        output::line(&format!("nothing was staler than the bound of {bound} ms"));
        Ok(ExitCode::SUCCESS)
    } else {
        output::line(&format!(
            "FAILED: the bound is {bound} ms; logs in {}",
            folder.display()
        ));
        Ok(ExitCode::FAILURE)
    }
}
