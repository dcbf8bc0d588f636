//! The services as containers.
//!
//! Their images are built from this tree. Where their health pages are is the engine's choice, and `status` shows it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use pp_testkit::compose::{Container, Project};
use pp_testkit::state::State;
use pp_testkit::wait;

use crate::commands::service::{self, Service};

/// How long the API may take to be reachable from here once its container is healthy.
const REACHABLE_LIMIT: Duration = Duration::from_secs(10);

/// Starts the services that run neither as containers nor, from earlier on, as processes, and waits until they are ready.
pub(super) fn start(services: &[Service], state: &State, mut project: Project) -> Result<()> {
    let containers = project.containers()?;
    let is_running = |name: &str| {
        let mut own = containers.iter().filter(|container| container.service == name);
        own.any(Container::is_running) || state.running(name).is_some()
    };
    let missing: Vec<&Service> = services.iter().filter(|service| !is_running(service.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let api = &services[0];
    let address = service::bound(&api.bind)?;
    ensure!(
        address.ip() == Ipv4Addr::LOCALHOST,
        "{}: containers publish their ports on 127.0.0.1 alone, not on {}",
        api.up_variable,
        api.bind
    );
    project.set("PP_API_PORT", address.port());
    if missing.iter().any(|service| service.name == api.name) {
        api.check_address()?;
    }
    let names: Vec<&str> = missing.iter().map(|service| service.name).collect();
    project.build(&names)?;
    project.start(&names)?;
    wait::until_ok("the API does not answer here", REACHABLE_LIMIT, || {
        service::is_ready(&api.bind, None)
    })
}
