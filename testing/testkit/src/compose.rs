//! PP as containers, by way of `docker compose`: the three servers for tests, and the services too for `make up`.
//!
//! The project's own docker-compose.yml is embedded, so that what was started is also what is stopped. Each set of
//! containers is a compose project with a name, passwords and ports of its own. What the containers are is in that file and
//! in the Dockerfile alone; nothing here knows an image.

mod check;
mod containers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::servers::{Kind, folder};
use crate::{ports, programs, wait};

pub use check::check;
pub use containers::{Container, Health};

const COMPOSE_FILE: &str = include_str!("../../../docker-compose.yml");

/// Where the Dockerfile and what it builds from are: the tree that this program was built in.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The file that remembers the project.
const PROJECT: &str = "project.json";

/// How long an engine may think about whether it is there.
const ENGINE_LIMIT: Duration = Duration::from_secs(5);

/// How long containers may take to be healthy, once their images are there.
const START_LIMIT: Duration = Duration::from_secs(300);

/// One compose project.
#[derive(Debug)]
pub struct Project {
    home: PathBuf,
    record: Record,
    password: String,
    variables: Vec<(&'static str, String)>,
    temporary: bool,
}

/// What is remembered of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    name: String,
    /// PostgreSQL, RabbitMQ, Redis, RabbitMQ's management page.
    ports: [u16; 4],
}

/// Whether a Docker engine answers here and has the compose plugin.
pub(crate) fn is_available() -> bool {
    programs::in_path("docker").is_some() && succeeds(&["info"]) && succeeds(&["compose", "version"])
}

fn succeeds(args: &[&str]) -> bool {
    let command = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = command else { return false };
    let mut status = None;
    wait::holds_within(ENGINE_LIMIT, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    status.is_some_and(|status| status.success())
}

impl Project {
    /// A project for a while: removed, volumes and built images too, when this value is dropped.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn temporary() -> Result<Self> {
        let home = folder::temporary()?;
        let name = home.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        Self::open(home, name, true)
    }

    /// The project of a state folder.
    pub(crate) fn of_state(state: &Path) -> Result<Self> {
        let home = state.join("compose");
        folder::make(&home, 0o700)?;
        let name = format!("pp-{}", folder::fingerprint(&state.canonicalize()?));
        Self::open(home, name, false)
    }

    /// The project of a temporary folder whose owner is gone, to be dropped.
    pub(crate) fn abandoned(home: PathBuf) -> Option<Self> {
        let name = home.file_name()?.to_string_lossy().to_lowercase();
        home.join(PROJECT).exists().then(|| Self::open(home, name, true).ok())?
    }

    fn open(home: PathBuf, name: String, temporary: bool) -> Result<Self> {
        fs::write(home.join("docker-compose.yml"), COMPOSE_FILE)?;
        let file = home.join(PROJECT);
        let record = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => {
                let record = Record {
                    name,
                    ports: ports::free()?,
                };
                fs::write(&file, serde_json::to_string(&record)?)?;
                record
            }
        };
        Ok(Self {
            password: folder::password(&home)?,
            home,
            record,
            // Its ports are on the loopback interface, where an API started by hand asks for no key either.
            variables: vec![("PP_AUTH", std::env::var("PP_AUTH").unwrap_or_else(|_| "off".to_owned()))],
            temporary,
        })
    }

    /// Sets a variable that docker-compose.yml reads, beside the passwords and the servers' ports.
    pub fn set(&mut self, variable: &'static str, value: impl ToString) {
        self.variables.push((variable, value.to_string()));
    }

    /// The URL of a server, for this machine. Within the project the services have others.
    pub fn url(&self, kind: Kind) -> String {
        let [postgres, rabbitmq, redis, _] = self.record.ports;
        let port = match kind {
            Kind::Postgres => postgres,
            Kind::RabbitMq => rabbitmq,
            Kind::Redis => redis,
        };
        kind.url(port, &self.password)
    }

    /// The compose project's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// All containers of the project, those of services and those of servers, running or not.
    ///
    /// # Errors
    /// When the engine does not say.
    pub fn containers(&self) -> Result<Vec<Container>> {
        containers::parse(&self.output(&["ps", "--all", "--format", "json"])?.stdout)
    }

    /// Whether the server's container runs.
    pub fn is_running(&self, kind: Kind) -> bool {
        let containers = self.containers().unwrap_or_default();
        let mut of_server = containers.iter().filter(|container| container.service == kind.name());
        of_server.any(Container::is_running)
    }

    pub(crate) fn start_servers(&self, kinds: &[Kind]) -> Result<Vec<Kind>> {
        let started: Vec<Kind> = kinds.iter().copied().filter(|kind| !self.is_running(*kind)).collect();
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        self.start(&names)?;
        Ok(started)
    }

    /// Builds the images of `services`, with the builder's progress on this process' standard error.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn build(&self, services: &[&str]) -> Result<()> {
        self.show(&[&["build"], services].concat())
    }

    /// Starts containers of `services` and of what these depend on, waits until they are healthy, and leaves alone those that
    /// there are.
    ///
    /// # Errors
    /// When one does not become healthy; what compose said about it is on standard error by then.
    pub fn start(&self, services: &[&str]) -> Result<()> {
        let limit = START_LIMIT.as_secs().to_string();
        let up = ["up", "--detach", "--no-recreate", "--wait", "--wait-timeout", &limit];
        self.show(&[up.as_slice(), services].concat()).inspect_err(|_| {
            // What they logged says more than that they are unhealthy.
            let _ = self.show(&[&["logs", "--tail", "15"], services].concat());
        })
    }

    /// Stops and removes the containers; with `purge` also the volumes, and the images that were built for them.
    pub(crate) fn stop_all(&self, purge: bool) -> Result<()> {
        let purged: &[&str] = if purge { &["--volumes", "--rmi", "local"] } else { &[] };
        // Containers of services that only a profile starts are to go as well.
        self.output(&[&["--profile", "*", "down", "--remove-orphans"], purged].concat())?;
        Ok(())
    }

    /// What of the project still runs.
    pub(crate) fn left_behind(&self) -> Result<Vec<String>> {
        let containers = self.containers()?;
        let running = containers.into_iter().filter(Container::is_running);
        Ok(running.map(|container| container.name).collect())
    }

    /// A compose command for this project, for example `logs`.
    pub fn command(&self, args: &[&str]) -> Command {
        let [postgres, rabbitmq, redis, management] = self.record.ports;
        let mut command = Command::new("docker");
        command
            .args([
                "compose",
                "--project-name",
                &self.record.name,
                "--project-directory",
                SOURCES,
            ])
            .arg("--file")
            .arg(self.home.join("docker-compose.yml"))
            .args(args)
            .stdin(Stdio::null());
        for kind in ["POSTGRES", "RABBITMQ", "REDIS"] {
            command.env(format!("PP_{kind}_PASSWORD"), &self.password);
        }
        for (name, port) in [
            ("POSTGRES", postgres),
            ("RABBITMQ", rabbitmq),
            ("REDIS", redis),
            ("RABBITMQ_MANAGEMENT", management),
        ] {
            command.env(format!("PP_{name}_PORT"), port.to_string());
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end, and returns what it wrote.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn output(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).output().context("cannot run docker")?;
        if !output.status.success() {
            bail!(
                "docker compose {} failed: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(output)
    }

    /// Runs a command that may take long, and shows what it says: images are fetched or built.
    fn show(&self, args: &[&str]) -> Result<()> {
        // Standard output is for results.
        let status = self
            .command(args)
            .stdout(std::io::stderr())
            .status()
            .context("cannot run docker")?;
        ensure!(status.success(), "docker compose {} failed", args[0]);
        Ok(())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.temporary && self.stop_all(true).is_ok() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}
