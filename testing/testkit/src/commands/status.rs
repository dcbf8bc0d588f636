//! `status`: what runs where, and whether it answers. It exits with 1 unless every server and service does.
//!
//! Tells passwords to nobody: a server's address is shown without its user.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use pp_testkit::compose::Container;
use pp_testkit::output;
use pp_testkit::servers::{Kind, Provided, answers};
use pp_testkit::state::{EnvFile, State};
use url::Url;

use super::service;

/// The state of what runs and answers.
const READY: &str = "ready";

pub(crate) fn run(folder: &Path) -> Result<ExitCode> {
    let ready = match State::look(folder)? {
        Some(state) => print(&state)?,
        None => {
            output::line(&format!("nothing was started in {}", folder.display()));
            false
        }
    };
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the table of servers and services; whether all of them are ready.
pub(crate) fn print(state: &State) -> Result<bool> {
    let mut rows = vec![["what", "runs as", "at", "state"].map(str::to_owned)];
    let variables = EnvFile::read(&state.env_file()).unwrap_or_default();
    let servers = state
        .remembered
        .compose
        .map(|compose| Provided::of_state(compose, state.remembered.tls, state.folder()))
        .transpose()?;
    // A system on PostgreSQL alone has no others.
    let is_used = |kind: &Kind| *kind == Kind::Postgres || !state.remembered.postgres_alone;
    for kind in Kind::ALL.into_iter().filter(is_used) {
        rows.push(server_row(
            kind,
            servers.as_ref(),
            variables.get(kind.service_variable()),
        ));
    }
    let containers = match &servers {
        Some(Provided::Compose(project)) => project.containers()?,
        _ => Vec::new(),
    };
    for service in service::all() {
        rows.extend(service_rows(service.name, state, &containers));
    }
    output::table(&rows);
    Ok(rows[1..].iter().all(|[.., state]| state == READY))
}

/// One row, or one for each container of the service.
fn service_rows(name: &str, state: &State, containers: &[Container]) -> Vec<[String; 4]> {
    let answer = |ready: Result<()>| match ready {
        Ok(()) => READY.to_owned(),
        Err(error) => format!("not ready: {error}"),
    };
    if let Some(running) = state.running(name) {
        let means = format!("pid {}", running.process.pid);
        let certificates = state.certificates().filter(|_| name == service::WITH_TLS);
        let authority = certificates.map(|files| files.authority);
        let answer = answer(service::is_ready(&running.bind, authority.as_deref()));
        return vec![[name.to_owned(), means, running.bind.clone(), answer]];
    }
    let rows = containers.iter().filter(|container| container.service == name);
    let rows = rows.map(|container| {
        let place = match container.addresses() {
            addresses if addresses.is_empty() => "-".to_owned(),
            addresses => addresses.join(", "),
        };
        let means = format!("container {}", container.name);
        [name.to_owned(), means, place, container.health().to_string()]
    });
    match rows.collect::<Vec<_>>() {
        none if none.is_empty() => vec![[name, "-", "-", "stopped"].map(str::to_owned)],
        rows => rows,
    }
}

fn server_row(kind: Kind, servers: Option<&Provided>, url: Option<&str>) -> [String; 4] {
    let own_url = servers.and_then(|servers| servers.url(kind).ok());
    let running = servers.and_then(|servers| servers.running_as(kind));
    let (means, url) = match (url, own_url, running) {
        // What the services were told counts, also while a server of our own runs idle beside it.
        (Some(url), own_url, _) if own_url.as_deref() != Some(url) => ("given".to_owned(), url.to_owned()),
        (_, Some(url), Some(means)) if matches!(servers, Some(Provided::Private(_))) => {
            (format!("private, {means}"), url)
        }
        (_, Some(url), Some(means)) => (means, url),
        _ => return [kind.name(), "-", "-", "stopped"].map(str::to_owned),
    };
    let place = Url::parse(&url)
        .ok()
        .and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port()?)));
    let answer = match answers(kind, &url) {
        Ok(()) => READY.to_owned(),
        Err(error) => format!("not ready: {error}"),
    };
    [
        kind.name().to_owned(),
        means,
        place.unwrap_or_else(|| "-".to_owned()),
        answer,
    ]
}
