//! `faults`: proves that nothing acknowledged is lost and nothing takes effect twice, one fault after the other.
//!
//! What happens is in the library; here are the arguments, the folder of the run and the verdict.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, process};

use anyhow::{Context as _, Result};
use pp_chaos::disk::{self, Disk};
use pp_chaos::distributed::{Distributed, Form};
use pp_chaos::embedded::Embedded;
use pp_chaos::fault::Fault;
use pp_chaos::rounds::Run;
use pp_chaos::system::System;
use pp_chaos::{plan, table};
use pp_testkit::signals::Stop;
use pp_testkit::{install, output, signals};

/// How many of the findings are printed; all are in a file.
const SHOWN: usize = 20;
/// Room for what one run writes, and no more: it is a file system in memory.
const DISK_MEBIBYTES: u32 = 64;
const DISK_MEBIBYTES_A_ROUND: u32 = 12;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many faults, one after the other.
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// What the faults, their times and their victims are drawn from; without one, a new one every time.
    #[arg(long)]
    seed: Option<u64>,
    /// The embedded program instead of servers and services.
    #[arg(long)]
    embedded: bool,
    /// Servers and services without RabbitMQ: consumers claim works from PostgreSQL.
    #[arg(long, conflicts_with = "embedded")]
    without_broker: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let stop = signals::stop()?;
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let again = repeat(args, seed);
    output::line(&format!(
        "seed {seed}: the same faults at the same times with `{again}`; what the processes make of them differs each time"
    ));
    let folder = env::temp_dir().join(format!("{}{}-{seed}", disk::FOLDER, process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut run = Run::default();
    let ended = rounds(args, seed, &folder, &stop, &mut run);
    if !run.reports.is_empty() {
        output::line("");
        output::line(&table::table(&run.reports, run.late));
    }
    if ended.is_ok() && run.findings.is_clean() {
        fs::remove_dir_all(&folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = written_down(&run, &folder)?;
    if let Err(error) = ended {
        eprintln!("pp_chaos: {error:#}");
    }
    for finding in run.findings.lines().take(SHOWN) {
        output::line(&finding);
    }
    let verdict = if run.findings.is_clean() {
        "INCOMPLETE"
    } else {
        "FAILED"
    };
    output::line(&format!(
        "\n{verdict}: {} lost, {} duplicated: {}; logs in {}\nrepeat with `{again}`",
        run.findings.lost.len(),
        run.findings.duplicated.len(),
        report.display(),
        folder.display()
    ));
    Ok(ExitCode::FAILURE)
}

fn rounds(args: &Args, seed: u64, folder: &Path, stop: &Stop, run: &mut Run) -> Result<()> {
    let mut kinds = if args.embedded {
        Fault::EMBEDDED.to_vec()
    } else {
        Fault::DISTRIBUTED.to_vec()
    };
    let mut system: Box<dyn System> = if args.embedded {
        let disk = Disk::is_possible().then_some(DISK_MEBIBYTES + args.rounds * DISK_MEBIBYTES_A_ROUND);
        if disk.is_none() {
            kinds.retain(|kind| *kind != Fault::DiskFull);
            output::line("without \"disk full\": this process may not mount a disk that could be filled");
        }
        Box::new(Embedded::start(folder, disk)?)
    } else {
        let form = if args.without_broker {
            Form::WithoutBroker
        } else {
            Form::Whole
        };
        kinds.retain(|kind| form == Form::Whole || !kind.is_of_rabbitmq());
        install::ensure(form.servers())?;
        Box::new(Distributed::start(folder, form)?)
    };
    let plan = plan::rounds(args.rounds, seed, &kinds);
    let ended = run.rounds(&mut *system, &plan, stop, &output::line);
    if ended.is_err() || !run.findings.is_clean() {
        system.keep_logs(folder);
    }
    ended
}

fn repeat(args: &Args, seed: u64) -> String {
    let target = match (args.embedded, args.without_broker) {
        (true, _) => "chaos-embedded",
        (_, true) => "chaos-without-broker",
        _ => "chaos",
    };
    format!("make {target} ROUNDS={} SEED={seed}", args.rounds)
}

/// What was found, in a file; there can be many lines.
fn written_down(run: &Run, folder: &Path) -> Result<PathBuf> {
    let file = folder.join("findings.txt");
    let lines: Vec<String> = run.findings.lines().collect();
    fs::write(&file, lines.join("\n"))?;
    Ok(file)
}
