//! PgBouncer before a PostgreSQL server: a private instance for as long as its value lives.
//!
//! What it is told is the caller's; only where it listens and whom it lets in are set here.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use url::Url;

use crate::launch::{Launch, Lifetime};
use crate::process::ProcessId;
use crate::programs::{Account, Program};
use crate::servers::{Kind, folder};
use crate::{install, logs, ports, wait};

/// Where the settings say that it listens, and who may log in.
const PORT: &str = "listen_port = 6432";
const USERS: &str = "/etc/pgbouncer/userlist.txt";
const START_LIMIT: Duration = Duration::from_secs(20);

/// A PgBouncer that runs; it ends when this is dropped, or with this process.
#[derive(Debug)]
pub struct Pooler {
    home: PathBuf,
    process: ProcessId,
    port: u16,
}

impl Pooler {
    /// Starts one with the settings of a `pgbouncer.ini`, on a free port instead of 6432. The user of `server`, a URL,
    /// may log in with the password that is in it.
    ///
    /// # Errors
    /// When the package cannot be installed, when the settings lack the lines that are adapted here, or when it does
    /// not start; the error has the end of its log.
    pub fn start(settings: &str, server: &str) -> Result<Self> {
        install::install(&[Program::Pooler], |_| ())?;
        let server = Url::parse(server)?;
        let [port] = ports::free()?;
        let account = Account::of(Kind::Postgres)?;
        let home = folder::temporary()?;
        let users = home.join("userlist.txt");
        let user = format!(
            "\"{}\" \"{}\"\n",
            server.username(),
            server.password().unwrap_or_default()
        );
        folder::write_for(account, &users, &user)?;
        for line in [PORT, USERS] {
            ensure!(settings.contains(line), "the settings of PgBouncer lack {line}");
        }
        let settings = settings
            .replace(PORT, &format!("listen_port = {port}\nunix_socket_dir ="))
            .replace(USERS, &users.to_string_lossy());
        let file = home.join("pgbouncer.ini");
        folder::write_for(account, &file, &settings)?;
        let log = home.join("pgbouncer.log");
        let process = Launch::server(Program::Pooler.locate()?, account, &home)
            .arg(file)
            .death_signal(Signal::SIGKILL)
            .spawn(&home, &log, Lifetime::Tied)?;
        let pooler = Self { home, process, port };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let served = wait::holds_within(START_LIMIT, || listens() || !pooler.process.is_alive());
        ensure!(
            served && listens(),
            "PgBouncer does not serve; the end of its log:\n{}",
            logs::tail(&log, 20)
        );
        Ok(pooler)
    }

    /// The same URL of a database by way of this.
    ///
    /// # Errors
    /// When `direct` is no URL.
    pub fn url(&self, direct: &str) -> Result<String> {
        let mut url = Url::parse(direct)?;
        url.set_host(Some("127.0.0.1"))?;
        url.set_port(Some(self.port)).ok().context("a URL without a port")?;
        Ok(url.into())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if self.process.end(&[]).is_ok() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}
