//! `pp_bench`: the figures, as a table on standard output and as JSON in a folder. What is measured, and how, is in the
//! library.

#![allow(clippy::print_stderr, reason = "how far it is, for whoever waits")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, process};

use anyhow::{Context as _, Result};
use clap::Parser;
use pp_bench::{Conditions, FIGURES, Figure, Options, Plan, Report, Stand};
use pp_testkit::programs::Program;
use pp_testkit::servers::Kind;
use pp_testkit::{install, output};

/// How fast PP is and what it costs, next to what the machine does without it.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
struct Args {
    /// Only these figures, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = FIGURES.map(|figure| figure.name))]
    only: Vec<String>,
    /// The key figures on tables of growing size and with several consumers instead; takes long, and tens of GB.
    #[arg(long)]
    growth: bool,
    /// Lists the figures.
    #[arg(long)]
    list: bool,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench", value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("pp_bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        for Figure { name, about, .. } in &FIGURES {
            output::line(&format!("{name:<14}  {about}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    install::ensure_all(&[Kind::ALL.map(Program::from).as_slice(), &[Program::LoadGenerator]].concat())?;
    // Each client of a live stream is an open file.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let folder = env::temp_dir().join(format!("pp-bench-{}", process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let report = measure(args, &folder)?;
    output::line(report.table().trim_end());
    let file = write(&report, &args.out)?;
    output::line(&format!("as JSON: {}", file.display()));
    if report.errors.is_empty() {
        fs::remove_dir_all(&folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("logs: {}", folder.display()));
    Ok(ExitCode::FAILURE)
}

fn measure(args: &Args, folder: &Path) -> Result<Report> {
    let plan = Plan::from(&args.options);
    let stand = Stand::start(folder)?;
    let mut report = Report {
        conditions: Conditions::see(&stand)?,
        lines: Vec::new(),
        errors: Vec::new(),
    };
    for figure in Figure::wanted(&args.only, args.growth) {
        let begun = Instant::now();
        eprint!("measuring: {} … ", figure.name);
        match figure.measure(&stand, &plan) {
            Ok(lines) => report.lines.extend(lines),
            Err(error) => report.errors.push(format!("{}: {error:#}", figure.name)),
        }
        eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
    }
    report.conditions.finish();
    Ok(report)
}

/// Named by time and commit, so that no run replaces another.
fn write(report: &Report, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let part = |name| report.conditions.get(name).unwrap_or_default();
    let time = part("time").replace(':', "");
    let commit = part("commit").split(' ').next().unwrap_or_default();
    let file = folder.join(format!("{time}-{commit}.json"));
    fs::write(&file, serde_json::to_string_pretty(&report.json())? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
