//! One private server: its record, and what is common to starting and ending any of the three.
//!
//! Settings are in the files named by the servers; sets of servers in [`super::private`].

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{Kind, folder, postgres, rabbitmq, redis};
use crate::certificates::Certificate;
use crate::launch::{Launch, Lifetime};
use crate::process::ProcessId;
use crate::programs::Account;
use crate::wait;

/// What one server is started with.
pub(super) struct Instance {
    pub(super) kind: Kind,
    pub(super) program: PathBuf,
    pub(super) account: Account,
    pub(super) folder: PathBuf,
    pub(super) password: String,
    /// With a certificate the server takes connections with TLS, and no others.
    pub(super) certificate: Option<Certificate>,
    /// The port it serves on; RabbitMQ's distribution and port mapper follow.
    pub(super) ports: [u16; 3],
}

/// What is remembered of a server that was started.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) ports: [u16; 3],
    pub(super) process: ProcessId,
    epmd: Option<ProcessId>,
    /// True if it takes connections with TLS alone.
    #[serde(default)]
    pub(super) tls: bool,
}

impl Instance {
    /// Prepares the folder and starts the processes; that they serve is not waited for.
    pub(super) fn launch(&self, home: &Path, log: &Path, lifetime: Lifetime) -> Result<Record> {
        let spawn = |launch: &Launch| launch.spawn(home, log, lifetime);
        if let Some(Certificate { certificate, key }) = &self.certificate {
            folder::write_for(self.account, &self.certificate_file(), certificate)?;
            folder::write_for(self.account, &self.key_file(), key)?;
        }
        let (process, epmd) = match self.kind {
            Kind::Postgres => {
                postgres::prepare(self)?;
                (spawn(&postgres::launch(self))?, None)
            }
            Kind::RabbitMq => {
                rabbitmq::prepare(self)?;
                let epmd = spawn(&rabbitmq::launch_epmd(self)?)?;
                let is_up = || TcpStream::connect(("127.0.0.1", self.ports[2])).is_ok();
                ensure!(
                    wait::holds_within(Duration::from_secs(10), is_up),
                    "epmd does not listen"
                );
                (spawn(&rabbitmq::launch(self))?, Some(epmd))
            }
            Kind::Redis => {
                redis::prepare(self)?;
                (spawn(&redis::launch(self))?, None)
            }
        };
        Ok(Record {
            ports: self.ports,
            process,
            epmd,
            tls: self.certificate.is_some(),
        })
    }

    pub(super) fn certificate_file(&self) -> PathBuf {
        self.folder.join("tls.pem")
    }

    pub(super) fn key_file(&self) -> PathBuf {
        self.folder.join("tls.key")
    }
}

impl Record {
    pub(super) fn read(file: &Path) -> Result<Self> {
        Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        folder::write_secret(file, &serde_json::to_string(self)?)
    }

    /// Ends the server's own process by `steps`, and then whatever it leaves.
    pub(super) fn end(&self, steps: &[(Signal, Duration)]) -> Result<()> {
        let mut family = self.process.family();
        self.process.end(steps)?;
        if let Some(epmd) = &self.epmd {
            family.extend(epmd.family());
            epmd.end(rabbitmq::STOP_EPMD)?;
        }
        // Children follow their parent within moments; until then they may hold its port or its data.
        for process in family {
            if !process.ends_within(Duration::from_secs(5)) {
                process.end(&[])?;
            }
        }
        Ok(())
    }
}
