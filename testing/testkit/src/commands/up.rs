//! `up`: starts what is missing, servers first, and waits until everything is ready.
//!
//! A server whose variable (`PP_DATABASE_URL`, …) is set in the environment is the user's own and left alone. The services
//! are containers where all servers are, and processes of this machine otherwise: a container does not reach what is given
//! as an address of this machine. How each kind is started is in `up/containers` and `up/processes`.

mod containers;
mod processes;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use pp_testkit::certificates::Files;
use pp_testkit::launch::MARK;
use pp_testkit::servers::{Choice, Kind, Provided, TLS};
use pp_testkit::state::{EnvFile, State};
use pp_testkit::{install, output};

use super::service::{self, Service};
use super::status;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the servers, no service.
    #[arg(long)]
    servers_only: bool,
    /// PostgreSQL is the only server: consumers claim works from it, and caches are in memory.
    #[arg(long)]
    only_postgres: bool,
    /// TLS on every wire, with private servers and certificates made for this machine.
    #[arg(long)]
    tls: bool,
    /// Builds the services' programs with Cargo before it starts them as processes.
    #[arg(long)]
    build: bool,
}

/// What stands in for a server in a system on PostgreSQL alone.
fn stand_in(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Postgres => None,
        Kind::RabbitMq => Some("database:"),
        Kind::Redis => Some("memory:"),
    }
}

pub(crate) fn run(args: &Args, choice: Choice, folder: &Path) -> Result<ExitCode> {
    let mut state = State::lock(folder)?;
    let mut variables = EnvFile::default();
    let choice = if args.tls { without_containers(choice)? } else { choice };
    change_form(args, &mut state)?;
    let scheme = if args.tls { "https" } else { "http" };
    if args.tls {
        let files = Files::made(&state.folder().join(TLS))?;
        for (variable, file) in [
            ("PP_TLS_CA", &files.authority),
            ("PP_TLS_CERT", &files.certificate),
            ("PP_TLS_KEY", &files.key),
        ] {
            variables.set(variable, &file.to_string_lossy());
        }
    }
    let servers = start_servers(choice, args.only_postgres, &mut state, &mut variables)?;
    let services = service::all();
    let api = &services[0];
    variables.set("PP_API_URL", &format!("{scheme}://{}", service::address(&api.bind)?));
    variables.set(api.up_variable, &api.bind);
    // A server that was given is beside those of our own, or there are none of our own at all.
    let project = match servers {
        Some(Provided::Compose(project)) if Kind::ALL.iter().all(|kind| is(&variables, *kind, &project.url(*kind))) => {
            Some(project)
        }
        _ => None,
    };
    if project.is_none() {
        for service in &services[1..] {
            variables.set(service.up_variable, &service.bind);
        }
    }
    variables.write(&state.env_file())?;
    match project {
        _ if args.servers_only => {}
        Some(project) => containers::start(&services, &state, project)?,
        None => processes::start(&services, &mut state, &variables, args.build)?,
    }
    status::print(&state)?;
    print_next(args.servers_only, api, &state);
    Ok(ExitCode::SUCCESS)
}

/// Starts the servers that nobody gave, and returns them; the variables get the URLs of all.
fn start_servers(
    choice: Choice,
    only_postgres: bool,
    state: &mut State,
    variables: &mut EnvFile,
) -> Result<Option<Provided>> {
    let own = state
        .remembered
        .compose
        .map(|compose| Provided::of_state(compose, state.remembered.tls, state.folder()))
        .transpose()?;
    let is_own = |kind: &Kind, url: &String| {
        own.as_ref()
            .is_some_and(|own| own.url(*kind).is_ok_and(|own| own == *url))
    };
    // Somebody who sourced the env file has our own URLs in the environment; those servers are still ours to start.
    let given = |kind: &Kind| {
        if let Some(stand_in) = stand_in(*kind).filter(|_| only_postgres) {
            return Some(stand_in.to_owned());
        }
        let url = std::env::var(kind.service_variable()).ok();
        let url = url.filter(|url| !["database:", "memory:"].contains(&url.as_str()));
        url.filter(|url| !url.is_empty() && !is_own(kind, url))
    };
    let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| given(kind).is_none()).collect();
    for kind in Kind::ALL {
        if let Some(url) = given(&kind) {
            variables.set(kind.service_variable(), &url);
        }
    }
    if missing.is_empty() {
        output::line("all servers are given: the services are processes");
        return Ok(None);
    }
    let compose = means(choice, state)?;
    output::line(match (compose, missing.len() == Kind::ALL.len()) {
        (true, true) => "with Docker Compose: servers and services are containers",
        (true, false) => "with Docker Compose: servers that are not given are containers, the services are processes",
        (false, _) if only_postgres => "PostgreSQL alone: a private instance, the services are processes",
        (false, _) if choice == Choice::Auto => {
            "no Docker engine is used: servers are private instances, services are processes"
        }
        (false, _) => "PP_SERVERS=private: servers are private instances, services are processes",
    });
    if !compose {
        install::ensure(&missing)?;
    }
    // Written down first: should this process be killed, `down` still knows what to look for.
    state.remembered.compose = Some(compose);
    state.save()?;
    let servers = Provided::of_state(compose, state.remembered.tls, state.folder())?;
    servers.start(&missing)?;
    for kind in missing {
        variables.set(kind.service_variable(), &servers.url(kind)?);
    }
    Ok(Some(servers))
}

fn is(variables: &EnvFile, kind: Kind, url: &str) -> bool {
    variables.get(kind.service_variable()) == Some(url)
}

/// Containers have no TLS.
fn without_containers(choice: Choice) -> Result<Choice> {
    match choice {
        Choice::Compose => bail!("containers have no TLS: use PP_SERVERS=private"),
        Choice::Auto | Choice::Private => Ok(Choice::Private),
    }
}

/// Remembers the form of the system, which does not change while anything runs.
fn change_form(args: &Args, state: &mut State) -> Result<()> {
    let (tls, postgres_alone) = (args.tls, args.only_postgres);
    let remembered = &state.remembered;
    if (remembered.tls, remembered.postgres_alone) == (tls, postgres_alone) {
        return Ok(());
    }
    let known = state.remembered.compose;
    let servers = known.map(|compose| Provided::of_state(compose, state.remembered.tls, state.folder()));
    let servers = servers.transpose()?;
    let server_runs = |kind: &Kind| {
        servers
            .as_ref()
            .is_some_and(|servers| servers.running_as(*kind).is_some())
    };
    let service_runs = |service: &Service| state.running(service.name).is_some();
    if Kind::ALL.iter().any(server_runs) || service::all().iter().any(service_runs) {
        let now = match (state.remembered.tls == tls, tls, postgres_alone) {
            (false, true, _) => "without TLS",
            (false, false, _) => "with TLS",
            (true, _, true) => "with all servers",
            (true, _, false) => "on PostgreSQL alone",
        };
        bail!("the system runs {now}: `make down` first");
    }
    (state.remembered.tls, state.remembered.postgres_alone) = (tls, postgres_alone);
    state.save()
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
    let servers = Provided::of_state(known, state.remembered.tls, state.folder())?;
    if asked != known && Kind::ALL.iter().any(|kind| servers.running_as(*kind).is_some()) {
        bail!("servers of the other kind run here already: `make down` first");
    }
    Ok(asked)
}

fn print_next(servers_only: bool, api: &Service, state: &State) {
    output::line("");
    output::line(&format!("variables:  {}", state.env_file().display()));
    match service::address(&api.bind) {
        Ok(address) if !servers_only => output::line(&match state.certificates() {
            None => format!("next:       curl -X POST http://{address}/work"),
            Some(files) => {
                let authority = files.authority.display();
                format!("next:       curl --cacert {authority} -X POST https://{address}/work")
            }
        }),
        _ => output::line("next:       make run-pp-backend-api"),
    }
    output::line("then:       make status, make logs, make down");
}

/// The mark of everything that belongs to a state folder's services.
pub(crate) fn mark(state: &State) -> (&'static str, String) {
    (MARK, state.folder().to_string_lossy().into_owned())
}
