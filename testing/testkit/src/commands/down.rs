//! `down`: stops exactly what `up` started, services first, and only says so when it is true.
//!
//! The data stays for the next `up`, unless `--purge` is given.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use pp_testkit::servers::Provided;
use pp_testkit::state::{Service, State};
use pp_testkit::{output, process};

use super::up;

/// The services' own grace period is 20 s by default (`PP_GRACE`); they get a little more.
const GRACE: Duration = Duration::from_secs(25);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also removes the data, the logs and the state folder.
    #[arg(long)]
    purge: bool,
}

pub(crate) fn run(args: &Args, folder: &Path) -> Result<ExitCode> {
    if State::look(folder)?.is_some() {
        let mut state = State::lock(folder)?;
        stop_services(&mut state)?;
        stop_servers(args.purge, &state)?;
        if args.purge {
            fs::remove_dir_all(state.folder())?;
        }
    }
    output::line("nothing left running");
    Ok(ExitCode::SUCCESS)
}

fn stop_services(state: &mut State) -> Result<()> {
    let stop = |service: &Service| -> Result<()> {
        if !service.process.is_alive() {
            return Ok(());
        }
        let family = service.process.family();
        service.process.signal(Signal::SIGTERM)?;
        if service.process.ends_within(GRACE) {
            output::line(&format!("stopped {}", service.name));
        } else {
            eprintln!(
                "pp_testkit: {} does not stop within {} s and is killed",
                service.name,
                GRACE.as_secs()
            );
            service.process.end(&[])?;
        }
        family
            .iter()
            .try_for_each(|process| process.end(&[(Signal::SIGTERM, Duration::from_secs(2))]))
    };
    let services = std::mem::take(&mut state.remembered.services);
    let stopped: Vec<Result<()>> = thread::scope(|scope| {
        let stops: Vec<_> = services.iter().map(|service| scope.spawn(|| stop(service))).collect();
        stops
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("stopping panicked")))
            })
            .collect()
    });
    stopped.into_iter().collect::<Result<()>>()?;
    let (variable, value) = up::mark(state);
    for left in process::with_variable(variable, &value) {
        left.end(&[(Signal::SIGTERM, Duration::from_secs(2))])?;
    }
    let left = process::with_variable(variable, &value);
    ensure!(left.is_empty(), "still running: {left:?}");
    state.save()
}

fn stop_servers(purge: bool, state: &State) -> Result<()> {
    let Some(compose) = state.remembered.compose else {
        return Ok(());
    };
    let servers = Provided::of_state(compose, state.remembered.tls, state.folder())?;
    servers.stop_all(purge)?;
    output::line(if compose {
        "removed the containers"
    } else {
        "stopped the servers"
    });
    if let Provided::Private(private) = &servers
        && purge
    {
        fs::remove_dir_all(private.home())?;
    }
    Ok(())
}
