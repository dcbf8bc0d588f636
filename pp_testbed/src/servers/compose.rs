//! The servers as containers, by way of `docker compose`.
//!
//! The project's own docker-compose.yml is embedded, so that this program works wherever it is started. Each set of
//! servers is a compose project with a name, a password and ports of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Kind, answers, folder};
use crate::{ports, programs, wait};

const COMPOSE_FILE: &str = include_str!("../../../docker-compose.yml");

/// The file that remembers the project.
const PROJECT: &str = "project.json";

/// How long an engine may think about whether it is there.
const ENGINE_LIMIT: Duration = Duration::from_secs(5);

/// Pulling images may be part of it.
const START_LIMIT: Duration = Duration::from_secs(600);

/// One compose project.
#[derive(Debug)]
pub struct ComposeServers {
    home: PathBuf,
    project: Project,
    password: String,
    temporary: bool,
}

/// What is remembered of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Project {
    name: String,
    /// PostgreSQL, RabbitMQ, Redis, RabbitMQ's management page.
    ports: [u16; 4],
}

/// Whether a Docker engine answers here and has the compose plugin.
pub(super) fn is_available() -> bool {
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

impl ComposeServers {
    /// A project for a while: removed, volumes and all, when this value is dropped.
    pub(super) fn temporary() -> Result<Self> {
        let home = folder::temporary()?;
        let name = home.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        Self::open(home, name, true)
    }

    /// The project of a state folder.
    pub(super) fn of_state(state: &Path) -> Result<Self> {
        let home = state.join("compose");
        folder::make(&home, 0o700)?;
        let name = format!("pp-{}", folder::fingerprint(&state.canonicalize()?));
        Self::open(home, name, false)
    }

    /// The project of a temporary folder whose owner is gone, to be dropped.
    pub(super) fn abandoned(home: PathBuf) -> Option<Self> {
        let name = home.file_name()?.to_string_lossy().to_lowercase();
        home.join(PROJECT).exists().then(|| Self::open(home, name, true).ok())?
    }

    fn open(home: PathBuf, name: String, temporary: bool) -> Result<Self> {
        fs::write(home.join("docker-compose.yml"), COMPOSE_FILE)?;
        let file = home.join(PROJECT);
        let project = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => {
                let project = Project {
                    name,
                    ports: ports::free()?,
                };
                fs::write(&file, serde_json::to_string(&project)?)?;
                project
            }
        };
        Ok(Self {
            password: folder::password(&home)?,
            home,
            project,
            temporary,
        })
    }

    /// The URL of a server.
    pub fn url(&self, kind: Kind) -> String {
        let [postgres, rabbitmq, redis, _] = self.project.ports;
        let port = match kind {
            Kind::Postgres => postgres,
            Kind::RabbitMq => rabbitmq,
            Kind::Redis => redis,
        };
        kind.url(port, &self.password)
    }

    /// The compose project's name.
    pub fn project(&self) -> &str {
        &self.project.name
    }

    /// Whether the server's container runs.
    pub fn is_running(&self, kind: Kind) -> bool {
        let output = self.command(&["ps", "--status", "running", "--services"]).output();
        let names = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        names.lines().any(|name| name == kind.name())
    }

    pub(super) fn start(&self, kinds: &[Kind]) -> Result<Vec<Kind>> {
        let started: Vec<Kind> = kinds.iter().copied().filter(|kind| !self.is_running(*kind)).collect();
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let limit = START_LIMIT.as_secs().to_string();
        self.run(
            &[
                &["up", "--detach", "--wait", "--wait-timeout", &limit],
                names.as_slice(),
            ]
            .concat(),
        )?;
        for kind in kinds {
            let url = self.url(*kind);
            wait::until_ok(&format!("{kind} does not serve"), Duration::from_secs(30), || {
                answers(*kind, &url)
            })?;
        }
        Ok(started)
    }

    /// Removes the containers; the volumes only when asked to.
    pub(super) fn stop_all(&self, volumes: bool) -> Result<()> {
        self.run(if volumes { &["down", "--volumes"] } else { &["down"] })
    }

    /// What of the project still runs.
    pub(super) fn left_behind(&self) -> Result<Vec<String>> {
        let output = self.output(&["ps", "--quiet"])?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// A compose command for this project, for example `logs`.
    pub fn command(&self, args: &[&str]) -> Command {
        let [postgres, rabbitmq, redis, management] = self.project.ports;
        let mut command = Command::new("docker");
        command
            .args(["compose", "--project-name", &self.project.name, "--project-directory"])
            .arg(&self.home);
        command
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
        command
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        self.output(args).map(drop)
    }

    fn output(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).output().context("cannot run docker")?;
        if !output.status.success() {
            bail!(
                "docker compose {} failed: {}",
                args[0],
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(output)
    }
}

impl Drop for ComposeServers {
    fn drop(&mut self) {
        if self.temporary && self.stop_all(true).is_ok() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}
