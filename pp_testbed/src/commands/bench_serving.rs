//! `bench-serving`: how fast the serving layer answers, and what it costs. It prints a table and asserts nothing but that
//! the answers are right.

use std::process::ExitCode;
use std::{env, fs, process};

use anyhow::{Context as _, Result};
use pp_testbed::servers::Kind;
use pp_testbed::serving_bench::{Bench, Row, SECTIONS};

use super::{install, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this section; repeat it for several.
    #[arg(long = "only", value_parser = SECTIONS.map(|(name, _)| name))]
    only: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    install::ensure(&Kind::ALL)?;
    let folder = env::temp_dir().join(format!("pp-bench-serving-{}", process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let bench = Bench::start(&folder)?;
    let wanted = SECTIONS
        .iter()
        .filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|only| only == name));
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, measure) in wanted {
        output::line(&format!("measuring: {name}"));
        match measure(&bench) {
            Ok(findings) => {
                rows.extend(findings.rows);
                failures.extend(findings.wrong);
            }
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    drop(bench);
    print(&rows);
    if failures.is_empty() {
        fs::remove_dir_all(&folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    for failure in failures {
        output::line(&format!("FAILED: {failure}; logs in {}", folder.display()));
    }
    Ok(ExitCode::FAILURE)
}

fn print(rows: &[Row]) {
    let head = ["what", "case", "figures", "how"].map(str::to_owned);
    let rows = rows
        .iter()
        .cloned()
        .map(|row| [row.what.to_owned(), row.case, row.figures, row.how]);
    output::table(&[head].into_iter().chain(rows).collect::<Vec<_>>());
}
