//! `up`: starts what is missing, servers first, and waits until everything is ready.
//!
//! A server whose variable (`PP_DATABASE_URL`, …) is set in the environment is the user's own and left alone.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pp_testbed::launch::{Launch, Lifetime, MARK};
use pp_testbed::servers::{Choice, Kind, Provided};
use pp_testbed::state::{self, EnvFile, State};
use pp_testbed::{logs, wait};

use super::service::{self, Service};
use super::{install, output, status};

/// Longer than a service waits for its servers by default (`PP_STARTUP_TIMEOUT`, 60 s).
const READY_LIMIT: Duration = Duration::from_secs(75);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the servers, no service.
    #[arg(long)]
    servers_only: bool,
}

pub(crate) fn run(args: &Args, choice: Choice, folder: &Path) -> Result<ExitCode> {
    let mut state = State::lock(folder)?;
    let mut variables = EnvFile::default();
    start_servers(choice, &mut state, &mut variables)?;
    let services = service::all();
    variables.set(
        "PP_API_URL",
        &format!("http://{}", service::address(&services[0].bind)?),
    );
    for service in &services {
        variables.set(service.up_variable, &service.bind);
    }
    variables.write(&state.env_file())?;
    if !args.servers_only {
        start_services(&services, &mut state, &variables)?;
    }
    status::print(&state)?;
    print_next(args.servers_only, &services[0], &state);
    Ok(ExitCode::SUCCESS)
}

fn start_servers(choice: Choice, state: &mut State, variables: &mut EnvFile) -> Result<()> {
    let own = state
        .remembered
        .compose
        .map(|compose| Provided::of_state(compose, state.folder()))
        .transpose()?;
    let is_own = |kind: &Kind, url: &String| {
        own.as_ref()
            .is_some_and(|own| own.url(*kind).is_ok_and(|own| own == *url))
    };
    // Somebody who sourced the env file has our own URLs in the environment; those servers are still ours to start.
    let given = |kind: &Kind| {
        let url = std::env::var(kind.service_variable()).ok();
        url.filter(|url| !url.is_empty() && !is_own(kind, url))
    };
    let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| given(kind).is_none()).collect();
    for kind in Kind::ALL {
        if let Some(url) = given(&kind) {
            variables.set(kind.service_variable(), &url);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let compose = means(choice, state)?;
    if !compose {
        install::ensure(&missing)?;
    }
    // Written down first: should this process be killed, `down` still knows what to look for.
    state.remembered.compose = Some(compose);
    state.save()?;
    let servers = Provided::of_state(compose, state.folder())?;
    servers.start(&missing)?;
    for kind in missing {
        variables.set(kind.service_variable(), &servers.url(kind)?);
    }
    Ok(())
}

/// The means in use stay in use: other ones would have other data.
fn means(choice: Choice, state: &State) -> Result<bool> {
    let Some(known) = state.remembered.compose else {
        return choice.is_compose();
    };
    let asked = match choice {
        Choice::Auto => known,
        _ => choice.is_compose()?,
    };
    let servers = Provided::of_state(known, state.folder())?;
    if asked != known && Kind::ALL.iter().any(|kind| servers.running_as(*kind).is_some()) {
        bail!("servers of the other kind run here already: `make down` first");
    }
    Ok(asked)
}

fn start_services(services: &[Service], state: &mut State, variables: &EnvFile) -> Result<()> {
    let missing: Vec<&Service> = services
        .iter()
        .filter(|service| state.running(service.name).is_none())
        .collect();
    for service in &missing {
        service.program()?;
        service.check_address()?;
    }
    for service in &missing {
        let mut launch = Launch::service(service.program()?).env(service.bind_variable, &service.bind);
        for kind in Kind::ALL {
            if let Some(url) = variables.get(kind.service_variable()) {
                launch = launch.env(kind.service_variable(), url);
            }
        }
        let process = launch.spawn(state.folder(), &state.log(service.name), Lifetime::Detached)?;
        state.add(state::Service {
            name: service.name.to_owned(),
            bind: service.bind.clone(),
            process,
        })?;
    }
    for service in &missing {
        wait_until_ready(service, state)?;
    }
    Ok(())
}

fn wait_until_ready(service: &Service, state: &State) -> Result<()> {
    let is_alive = || state.running(service.name).is_some();
    let ready = wait::until_ok(&format!("{} is not ready", service.name), READY_LIMIT, || {
        if is_alive() {
            service::is_ready(&service.bind)
        } else {
            Ok(())
        }
    });
    let log = state.log(service.name);
    let end_of_log = || format!("the end of its log, {}:\n{}", log.display(), logs::tail(&log, 15));
    ensure!(is_alive(), "{} ended while starting; {}", service.name, end_of_log());
    ready.with_context(end_of_log)
}

fn print_next(servers_only: bool, api: &Service, state: &State) {
    output::line("");
    output::line(&format!("variables:  {}", state.env_file().display()));
    match service::address(&api.bind) {
        Ok(address) if !servers_only => output::line(&format!("next:       curl -X POST http://{address}/work")),
        _ => output::line("next:       make run-pp-backend-api"),
    }
    output::line("then:       make status, make logs, make down");
}

/// The mark of everything that belongs to a state folder's services.
pub(crate) fn mark(state: &State) -> (&'static str, String) {
    (MARK, state.folder().to_string_lossy().into_owned())
}
