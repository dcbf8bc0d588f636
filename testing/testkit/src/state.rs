//! What `make up` remembers in its state folder (`PP_STATE_DIR`, by default `.pp`) between two commands.
//!
//! The servers keep their own records, see [`crate::servers`]; the services' log files lie beside them in `logs`.

mod env_file;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::certificates::Files;
use crate::process::ProcessId;
use crate::servers::{TLS, folder};

pub use env_file::EnvFile;

/// A service that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Service {
    /// The name of its program.
    pub name: String,
    /// Where it answers `/health/ready`, as `address:port`; `off` when nowhere.
    pub bind: String,
    /// Its process.
    pub process: ProcessId,
}

/// The content of the state folder's main file.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Remembered {
    /// Whether the servers are containers; nothing when no servers were started here.
    pub compose: Option<bool>,
    /// Whether every wire has TLS.
    #[serde(default)]
    pub tls: bool,
    /// Whether PostgreSQL is the only server.
    #[serde(default)]
    pub postgres_alone: bool,
    /// The services started.
    pub services: Vec<Service>,
}

/// A state folder, locked against other commands that change it.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// What was found, to be changed and then saved.
    pub remembered: Remembered,
    _lock: Option<File>,
}

impl State {
    /// Opens the folder, makes it when it does not exist, and waits until no other command changes it.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn lock(folder: &Path) -> Result<Self> {
        folder::make(folder, 0o711)?;
        let folder = folder.canonicalize()?;
        folder::make(&folder.join("logs"), 0o700)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))?;
        lock.lock()?;
        Ok(Self {
            remembered: read(&folder)?,
            folder,
            _lock: Some(lock),
        })
    }

    /// Only looks; nothing when there is no such folder.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn look(folder: &Path) -> Result<Option<Self>> {
        let Ok(folder) = folder.canonicalize() else {
            return Ok(None);
        };
        Ok(Some(Self {
            remembered: read(&folder)?,
            folder,
            _lock: None,
        }))
    }

    /// The folder's absolute path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that the Makefile's targets read.
    pub fn env_file(&self) -> PathBuf {
        self.folder.join("env")
    }

    /// The certificates, if every wire has TLS.
    pub fn certificates(&self) -> Option<Files> {
        self.remembered.tls.then(|| Files::of(&self.folder.join(TLS)))
    }

    /// The log file of a service or a private server.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// The record of a service, when it still runs.
    pub fn running(&self, name: &str) -> Option<&Service> {
        self.remembered
            .services
            .iter()
            .find(|service| service.name == name && service.process.is_alive())
    }

    /// Remembers a service that was just started, in place of an older one of that name.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn add(&mut self, service: Service) -> Result<()> {
        self.remembered.services.retain(|older| older.name != service.name);
        self.remembered.services.push(service);
        self.save()
    }

    /// Writes down what is remembered.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<()> {
        // Renamed into place: a command killed meanwhile leaves the old file or the new one, never half of it.
        let unfinished = file(&self.folder).with_extension("unfinished");
        fs::write(&unfinished, serde_json::to_string_pretty(&self.remembered)?)?;
        fs::rename(unfinished, file(&self.folder)).context("cannot write the state")
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("up.json")
}

fn read(folder: &Path) -> Result<Remembered> {
    let file = file(folder);
    match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("cannot understand {}", file.display())),
        Err(_) => Ok(Remembered::default()),
    }
}
