//! `status`: what runs where, and whether it answers.
//!
//! Tells passwords to nobody: a server's address is shown without its user.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use pp_testbed::servers::{Kind, Provided, answers};
use pp_testbed::state::{EnvFile, State};
use url::Url;

use super::{output, service};

pub(crate) fn run(folder: &Path) -> Result<ExitCode> {
    match State::look(folder)? {
        Some(state) => print(&state)?,
        None => output::line(&format!("nothing was started in {}", folder.display())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the table of servers and services.
pub(crate) fn print(state: &State) -> Result<()> {
    let mut rows = vec![["what", "runs as", "at", "state"].map(str::to_owned)];
    let variables = EnvFile::read(&state.env_file()).unwrap_or_default();
    let servers = state
        .remembered
        .compose
        .map(|compose| Provided::of_state(compose, state.folder()))
        .transpose()?;
    for kind in Kind::ALL {
        rows.push(server_row(
            kind,
            servers.as_ref(),
            variables.get(kind.service_variable()),
        ));
    }
    for service in service::all() {
        let Some(running) = state.running(service.name) else {
            rows.push([service.name, "-", "-", "stopped"].map(str::to_owned));
            continue;
        };
        let answer = match service::is_ready(&running.bind) {
            Ok(()) => "ready".to_owned(),
            Err(error) => format!("not ready: {error}"),
        };
        rows.push([
            service.name.to_owned(),
            format!("pid {}", running.process.pid),
            running.bind.clone(),
            answer,
        ]);
    }
    output::table(&rows);
    Ok(())
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
        Ok(()) => "ready".to_owned(),
        Err(error) => format!("not ready: {error}"),
    };
    [
        kind.name().to_owned(),
        means,
        place.unwrap_or_else(|| "-".to_owned()),
        answer,
    ]
}
