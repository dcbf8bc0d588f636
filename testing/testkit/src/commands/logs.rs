//! `logs`: the ends of the log files, or all that is written from now on.
//!
//! `tail` does the work; containers keep their own logs, which `docker compose` shows.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use pp_testkit::servers::{Kind, Provided};
use pp_testkit::state::State;

use super::service;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A service or a server; all when left out.
    name: Option<String>,
    /// Shows what is written from now on, until Ctrl+C.
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines are shown.
    #[arg(long, short = 'n', default_value_t = 40)]
    lines: u32,
}

pub(crate) fn run(args: &Args, folder: &Path) -> Result<ExitCode> {
    let known = service::all()
        .map(|service| service.name)
        .into_iter()
        .chain(Kind::ALL.map(Kind::name));
    let names: Vec<&str> = known
        .clone()
        .filter(|name| args.name.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    if names.is_empty() {
        bail!(
            "no such service or server; there are {}",
            known.collect::<Vec<_>>().join(", ")
        );
    }
    let state = State::look(folder)?.with_context(|| format!("nothing was started in {}", folder.display()))?;
    let files: Vec<_> = names
        .iter()
        .map(|name| state.log(name))
        .filter(|file| file.exists())
        .collect();
    if files.is_empty() {
        return containers(args, &names, &state);
    }
    let mut tail = Command::new("tail");
    tail.arg(format!("--lines={}", args.lines));
    if args.follow {
        tail.args(["--follow=name", "--retry"]);
    }
    Err(tail.arg("--").args(files).exec()).context("cannot run tail")
}

fn containers(args: &Args, names: &[&str], state: &State) -> Result<ExitCode> {
    let own = state
        .remembered
        .compose
        .map(|compose| Provided::of_state(compose, state.remembered.tls, state.folder()))
        .transpose()?;
    let Some(Provided::Compose(project)) = own else {
        bail!("no log yet of {}", names.join(", "))
    };
    let lines = args.lines.to_string();
    let mut command = project.command(&["logs", "--tail", &lines]);
    if args.follow {
        command.arg("--follow");
    }
    Err(command.args(names).exec()).context("cannot run docker")
}
