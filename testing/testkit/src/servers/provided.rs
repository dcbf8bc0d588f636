//! Servers by whatever means this machine has: containers where an engine answers, else private instances.
//!
//! Which of the servers are asked for, and what their URLs are for, is the caller's.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Kind, PrivateServers, sweep};
use crate::compose::{self, Project};

/// The wish expressed by `PP_SERVERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// Containers where an engine answers, else private instances.
    Auto,
    /// Containers or nothing.
    Compose,
    /// Private instances, also where an engine answers.
    Private,
}

impl Choice {
    /// What it comes to on this machine: whether containers are used.
    ///
    /// # Errors
    /// When containers are asked for and no engine answers.
    pub fn is_compose(self) -> Result<bool> {
        match self {
            Self::Private => Ok(false),
            Self::Auto => Ok(compose::is_available()),
            Self::Compose => {
                ensure!(
                    compose::is_available(),
                    "PP_SERVERS=compose, but no Docker engine with the compose plugin answers"
                );
                Ok(true)
            }
        }
    }
}

/// A set of servers.
#[derive(Debug)]
pub enum Provided {
    /// As processes of this machine.
    Private(PrivateServers),
    /// As containers.
    Compose(Project),
}

impl Provided {
    /// Servers for as long as the value lives, started and serving.
    ///
    /// # Errors
    /// When one cannot be started; private ones must be installed, see [`crate::install`].
    pub fn temporary(compose: bool, kinds: &[Kind]) -> Result<Self> {
        sweep::abandoned();
        if !compose {
            return Ok(Self::Private(PrivateServers::temporary(kinds)?));
        }
        let servers = Self::Compose(Project::temporary()?);
        servers.start(kinds)?;
        Ok(servers)
    }

    /// The servers of a state folder, which outlive this process; not started yet. Only private ones have TLS.
    ///
    /// # Errors
    /// When their folder cannot be made.
    pub fn of_state(compose: bool, tls: bool, state: &Path) -> Result<Self> {
        Ok(match compose {
            true => Self::Compose(Project::of_state(state)?),
            false => Self::Private(PrivateServers::of_state(state, tls, &Kind::ALL)?),
        })
    }

    /// Starts those that do not run and says which those were.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(&self, kinds: &[Kind]) -> Result<Vec<Kind>> {
        match self {
            Self::Private(servers) => servers.start(kinds),
            Self::Compose(servers) => servers
                .start_servers(kinds)
                .context("the servers cannot be started as containers (PP_SERVERS=private does without)"),
        }
    }

    /// The URL of a server that was started.
    ///
    /// # Errors
    /// When it was not.
    pub fn url(&self, kind: Kind) -> Result<String> {
        match self {
            Self::Private(servers) => servers.url(kind),
            Self::Compose(servers) => Ok(servers.url(kind)),
        }
    }

    /// Whether a server runs, and as what.
    pub fn running_as(&self, kind: Kind) -> Option<String> {
        match self {
            Self::Private(servers) => Some(format!("pid {}", servers.process(kind)?.pid)),
            Self::Compose(servers) => servers
                .is_running(kind)
                .then(|| format!("container in {}", servers.name())),
        }
    }

    /// Stops all of them and makes sure of it; `purge` also gives up containers' volumes.
    ///
    /// # Errors
    /// When something is left.
    pub fn stop_all(&self, purge: bool) -> Result<()> {
        let left = match self {
            Self::Private(servers) => {
                servers.stop_all()?;
                servers
                    .left_behind()
                    .iter()
                    .map(|process| format!("process {}", process.pid))
                    .collect()
            }
            Self::Compose(servers) => {
                servers.stop_all(purge)?;
                servers.left_behind()?
            }
        };
        ensure!(left.is_empty(), "still running: {}", left.join(", "));
        Ok(())
    }
}
