//! What the rounds ask of a system under test, distributed or embedded.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use pp_testkit::client::Api;
use pp_testkit::service::Service;
use pp_testkit::signals::Stop;
use pp_testkit::wait;

use super::asks::OTHER_KINDS;
use super::evidence::Evidence;
use super::fault::Fault;
use super::load::{Load, Target};
use super::outside;
use super::plan::Round;
use super::told::Told;

/// A bound of 4,000 takes 8 ms, one of 300,000 0.6 s, and the largest is refused, since it would take longer than an hour.
pub(super) const PACE: &str = "2us";
/// How long a service may take until it is ready.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long all that was acknowledged may take to be finished after a fault.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(90);
/// The sweep finds what was sent more than a minute ago, once a minute.
const SWEEP_LIMIT: Duration = Duration::from_secs(150);

/// How long all that was acknowledged in a round may take.
pub(super) fn drain_limit(fault: Fault) -> Duration {
    if fault.destroys_messages() {
        SWEEP_LIMIT
    } else {
        DRAIN_LIMIT
    }
}

/// Waits until the workers have declared the kinds of a run.
pub(super) fn are_declared(client: &Api) -> Result<()> {
    outside::declare(client)?;
    for kind in OTHER_KINDS {
        wait::until_ok("a kind is not declared", READY_LIMIT, || {
            let answer = client.try_get(&format!("/kind/{kind}"))?;
            ensure!(answer.status == 200, "{kind}: {}", answer.status);
            Ok(())
        })?;
    }
    Ok(())
}

/// Kills services as a crash would, and starts them again after the pause.
pub(super) fn killed(services: &mut [&mut Service], pause: impl FnOnce() -> Result<()>) -> Result<()> {
    services.iter_mut().try_for_each(|service| service.kill())?;
    pause()?;
    services.iter_mut().try_for_each(|service| service.start())
}

/// Stops services in their tracks, and lets them go on after the pause.
pub(super) fn frozen(services: &mut [&mut Service], pause: impl FnOnce() -> Result<()>) -> Result<()> {
    services
        .iter_mut()
        .try_for_each(|service| service.signal(Signal::SIGSTOP))?;
    let waited = pause();
    services
        .iter_mut()
        .try_for_each(|service| service.signal(Signal::SIGCONT))?;
    waited
}

/// When a fault was there, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Struck {
    /// When it struck.
    pub began: f64,
    /// When it was undone: connections open, processes and servers back and ready.
    pub over: f64,
    /// How many works that were acknowledged before were finished afterwards, and how long after `over` the last one,
    /// where the evidence cannot say that.
    pub recovered: Option<(usize, Duration)>,
}

/// A system that faults happen to.
pub trait System {
    /// Whom the clients of a round ask.
    fn target(&self, round: &Round) -> Target;

    /// Lets a fault happen and undoes it, while the load runs.
    ///
    /// # Errors
    /// When a part does not come back.
    fn strike(&mut self, round: &Round, load: &Load, stop: &Stop) -> Result<Struck>;

    /// What is not finished of all that was asked for; `None` when there is nothing to wait for.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn missing(&mut self, told: &Told) -> Result<Option<String>>;

    /// Works with ids above `above`, and all dead letters.
    ///
    /// # Errors
    /// When it cannot be read.
    fn evidence(&mut self, above: i64) -> Result<Evidence>;

    /// Fails when a part does not run that should.
    ///
    /// # Errors
    /// With the end of its log.
    fn ensure_running(&mut self) -> Result<()>;

    /// Copies logs that are elsewhere into the folder that is kept.
    fn keep_logs(&self, folder: &Path);
}
