//! The services as processes of this machine.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pp_testkit::launch::{Launch, Lifetime};
use pp_testkit::servers::Kind;
use pp_testkit::state::{self, EnvFile, State};
use pp_testkit::{logs, wait};

use crate::commands::service::{self, Service};

/// Longer than a service waits for its servers by default (`PP_STARTUP_TIMEOUT`, 60 s).
const READY_LIMIT: Duration = Duration::from_secs(75);

/// Starts the services that do not run, and waits until they are ready.
pub(super) fn start(services: &[Service], state: &mut State, variables: &EnvFile, build: bool) -> Result<()> {
    let missing: Vec<&Service> = services
        .iter()
        .filter(|service| state.running(service.name).is_none())
        .collect();
    if build && !missing.is_empty() {
        build_programs()?;
    }
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
        for variable in ["PP_TLS_CA", "PP_TLS_CERT", "PP_TLS_KEY"] {
            if let Some(file) = variables.get(variable) {
                launch = launch.env(variable, file);
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

/// As the Makefile builds them, so that nothing is compiled twice.
fn build_programs() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--workspace", "--bins"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .status()
        .context("cannot run Cargo")?;
    ensure!(status.success(), "the services cannot be built");
    Ok(())
}

fn wait_until_ready(service: &Service, state: &State) -> Result<()> {
    let certificates = state.certificates().filter(|_| service.name == service::WITH_TLS);
    let authority = certificates.map(|files| files.authority);
    let is_alive = || state.running(service.name).is_some();
    let ready = wait::until_ok(&format!("{} is not ready", service.name), READY_LIMIT, || {
        if is_alive() {
            service::is_ready(&service.bind, authority.as_deref())
        } else {
            Ok(())
        }
    });
    let log = state.log(service.name);
    let end_of_log = || format!("the end of its log, {}:\n{}", log.display(), logs::tail(&log, 15));
    ensure!(is_alive(), "{} ended while starting; {}", service.name, end_of_log());
    ready.with_context(end_of_log)
}
