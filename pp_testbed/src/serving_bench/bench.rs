//! Servers and services of their own for each section. Everything ends with its value.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::runtime::Runtime;

use crate::chaos::client::Client;
use crate::chaos::service::Service;
use crate::ledger::Ledger;
use crate::servers::{Kind, PrivateServers};
use crate::{ports, wait};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// The settings of a service.
pub(super) type Variables = Vec<(&'static str, String)>;

/// What all sections share.
pub struct Bench {
    pub(super) runtime: Runtime,
    pub(super) servers: PrivateServers,
    folder: PathBuf,
}

/// A program with a REST API, ready.
pub(super) struct Api {
    pub(super) service: Service,
    pub(super) port: u16,
}

impl Bench {
    /// Starts the servers; logs and data of services go to the folder.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        Ok(Self {
            runtime: Runtime::new()?,
            servers: PrivateServers::temporary(&Kind::ALL)?,
            folder: folder.to_path_buf(),
        })
    }

    /// A database of its own.
    pub(super) fn database(&self, name: &str) -> Result<String> {
        let server = self.servers.url(Kind::Postgres)?;
        self.runtime.block_on(Ledger::create_database(&server, name))
    }

    /// What services on the servers are told: a database of this name that is made now, and queues and a cache for it.
    pub(super) fn distributed(&self, name: &str) -> Result<Variables> {
        Ok(vec![
            ("PP_DATABASE_URL", self.database(name)?),
            ("PP_BROKER_URL", self.servers.url(Kind::RabbitMq)?),
            ("PP_QUEUE_PREFIX", format!("bench.{name}")),
            ("PP_CACHE_URL", self.servers.url(Kind::Redis)?),
            ("PP_CACHE_PREFIX", format!("bench_{name}")),
            ("PP_PROBE_BIND", "off".to_owned()),
        ])
    }

    /// What the embedded program is told.
    pub(super) fn embedded(&self, name: &str) -> Variables {
        let data = self.folder.join(name);
        vec![("PP_DATA_DIR", data.to_string_lossy().into_owned())]
    }

    /// Starts a program.
    pub(super) fn service(&self, name: &'static str, program: &str, variables: Variables) -> Result<Service> {
        let mut service = Service::new(name, program, &self.folder, variables)?;
        service.start()?;
        Ok(service)
    }

    /// Starts a program with an API and waits until it is ready.
    pub(super) fn api(&self, name: &'static str, program: &str, mut variables: Variables) -> Result<Api> {
        let [port] = ports::free()?;
        variables.push(("PP_API_BIND", format!("127.0.0.1:{port}")));
        let mut service = self.service(name, program, variables)?;
        wait::until_ok("the API is not ready", READY_LIMIT, || {
            service.ensure_running()?;
            ensure!(Client::at(port).is_ready(), "its readiness is not 200");
            Ok(())
        })?;
        Ok(Api { service, port })
    }
}

/// The variables with one of them set to something else.
pub(super) fn with(variables: &Variables, name: &'static str, value: impl Into<String>) -> Variables {
    let others = variables.iter().filter(|(other, _)| *other != name).cloned();
    others.chain([(name, value.into())]).collect()
}
