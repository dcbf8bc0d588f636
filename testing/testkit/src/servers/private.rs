//! The private instances: started side by side, found again by a later command, stopped, killed, frozen, started again.
//!
//! What differs from server to server is in the files named by them. What was started is written down in the folder of
//! the instance, with enough of each process' identity that no other is ever taken for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::instance::{Instance, Record};
use super::{Kind, answers, folder, rabbitmq};
use crate::certificates::{Certificate, Files};
use crate::launch::{self, Lifetime};
use crate::process::{self, ProcessId};
use crate::programs::{self, Account};
use crate::{logs, ports, wait};

/// The longest a server may take to start, on a busy machine with recovery to do.
const START_LIMIT: Duration = Duration::from_secs(90);

/// The folder of the certificates in a state folder.
pub const TLS: &str = "tls";

/// How long a port that was used before is waited for.
const PORT_LIMIT: Duration = Duration::from_secs(5);

/// PostgreSQL, RabbitMQ and Redis, or some of them, that belong to one folder and serve on ports of their own.
#[derive(Debug)]
pub struct PrivateServers {
    home: PathBuf,
    logs: PathBuf,
    kinds: Vec<Kind>,
    password: String,
    /// What the servers show, if they take connections with TLS alone.
    certificate: Option<Certificate>,
    /// The authority that the URLs name.
    authority: Option<PathBuf>,
    lifetime: Lifetime,
    /// A temporary folder is removed with its servers.
    temporary: bool,
}

impl PrivateServers {
    /// Servers for as long as this value lives: fresh data in a temporary folder, nothing left when it is dropped. They
    /// also end when this process does, however it ends.
    ///
    /// # Errors
    /// When a program is missing (see [`crate::install`]) or a server does not start; the error has the end of its log.
    pub fn temporary(kinds: &[Kind]) -> Result<Self> {
        Self::for_a_while(kinds, None)
    }

    /// The same with TLS on every connection. The servers are called `localhost`, whatever their certificate says.
    ///
    /// # Errors
    /// As [`Self::temporary`].
    pub fn temporary_with_tls(kinds: &[Kind], certificate: Certificate) -> Result<Self> {
        Self::for_a_while(kinds, Some(certificate))
    }

    fn for_a_while(kinds: &[Kind], certificate: Option<Certificate>) -> Result<Self> {
        let home = folder::temporary()?;
        let password = folder::password(&home)?;
        let logs = home.clone();
        let servers = Self {
            home,
            logs,
            kinds: kinds.to_vec(),
            password,
            certificate,
            authority: None,
            lifetime: Lifetime::Tied,
            temporary: true,
        };
        servers.start(kinds)?;
        Ok(servers)
    }

    /// The servers of a state folder, which stay when this process ends; with TLS if that is wanted. Nothing is started
    /// yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn of_state(state: &Path, tls: bool, kinds: &[Kind]) -> Result<Self> {
        let home = folder::of_state(state)?;
        let state = state.canonicalize()?;
        let logs = state.join("logs");
        folder::make(&logs, 0o700)?;
        let files = tls.then(|| Files::made(&state.join(TLS))).transpose()?;
        let password = folder::password(&home)?;
        Ok(Self {
            home,
            logs,
            kinds: kinds.to_vec(),
            password,
            certificate: files.as_ref().map(Files::read).transpose()?,
            authority: files.map(|files| files.authority),
            lifetime: Lifetime::Detached,
            temporary: false,
        })
    }

    /// The folder with the data.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The URL of a server that was started here, now or earlier. Its port stays the same over restarts.
    ///
    /// # Errors
    /// When it never was.
    pub fn url(&self, kind: Kind) -> Result<String> {
        let record = self.record(kind)?;
        Ok(match record.tls {
            true => kind.url_with_tls(record.ports[0], &self.password, self.authority.as_deref()),
            false => kind.url(record.ports[0], &self.password),
        })
    }

    /// The server's own process, when it runs.
    pub fn process(&self, kind: Kind) -> Option<ProcessId> {
        self.record(kind)
            .ok()
            .map(|record| record.process)
            .filter(ProcessId::is_alive)
    }

    /// The server's log file.
    pub fn log(&self, kind: Kind) -> PathBuf {
        self.logs.join(format!("{}.log", kind.name()))
    }

    /// Starts those of `kinds` that do not run, side by side, on the ports they had before, and waits until they serve.
    /// Says which those were.
    ///
    /// # Errors
    /// When one does not start; the others stay as they are.
    pub fn start(&self, kinds: &[Kind]) -> Result<Vec<Kind>> {
        let started: Vec<Kind> = kinds
            .iter()
            .copied()
            .filter(|kind| self.process(*kind).is_none())
            .collect();
        for kind in &started {
            self.launch(*kind)
                .with_context(|| format!("{kind} cannot be started"))?;
        }
        for kind in kinds {
            self.wait_until_serving(*kind)?;
        }
        Ok(started)
    }

    /// Stops a server the way its manual says, and everything it started.
    ///
    /// # Errors
    /// When something of it still runs after all deadlines.
    pub fn stop(&self, kind: Kind) -> Result<()> {
        self.end(kind, kind.stop_steps())
    }

    /// Kills a server with `SIGKILL`, as a crash would. [`Self::start`] brings it back.
    ///
    /// # Errors
    /// When something of it still runs after all deadlines.
    pub fn kill(&self, kind: Kind) -> Result<()> {
        self.end(kind, &[])
    }

    /// Stops the server's clock (`SIGSTOP`), its children's too: connections stay open, nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, kind: Kind) -> Result<()> {
        self.signal_all(kind, Signal::SIGSTOP)
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self, kind: Kind) -> Result<()> {
        self.signal_all(kind, Signal::SIGCONT)
    }

    /// Makes RabbitMQ believe that it is short of memory, so that it takes no messages; or that it is not any more.
    ///
    /// # Errors
    /// When it does not run.
    pub fn block_publishers(&self, blocked: bool) -> Result<()> {
        let memory = if blocked { "1" } else { rabbitmq::MEMORY };
        self.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", memory])
    }

    /// Does with RabbitMQ what its operator's tool, `rabbitmqctl`, is told to with these words.
    ///
    /// # Errors
    /// When it does not run, or does not do that.
    pub fn rabbitmqctl(&self, words: &[&str]) -> Result<()> {
        self.process(Kind::RabbitMq).context("RabbitMQ does not run")?;
        let instance = Instance {
            ports: self.record(Kind::RabbitMq)?.ports,
            ..self.instance(Kind::RabbitMq)?
        };
        rabbitmq::control(&instance, &self.home, words)?.run(None)
    }

    /// Stops all servers and makes sure that nothing of them is left.
    ///
    /// # Errors
    /// When something is.
    pub fn stop_all(&self) -> Result<()> {
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let stops: Vec<_> = self.kinds.iter().map(|kind| scope.spawn(|| self.stop(*kind))).collect();
            stops
                .into_iter()
                .map(|stop| {
                    stop.join()
                        .unwrap_or_else(|_| Err(anyhow::anyhow!("stopping panicked")))
                })
                .collect()
        });
        results.into_iter().collect::<Result<()>>()?;
        for process in self.left_behind() {
            process.end(&[])?;
        }
        Ok(())
    }

    /// What still runs and carries this folder's mark.
    pub fn left_behind(&self) -> Vec<ProcessId> {
        process::with_variable(launch::MARK, &self.home.to_string_lossy())
    }

    fn instance(&self, kind: Kind) -> Result<Instance> {
        let folder = self.home.join(kind.name());
        let account = Account::of(kind)?;
        folder::make_for(account, &folder)?;
        // The old ports unless somebody else took them meanwhile.
        let ports = match self.record(kind) {
            Ok(record) if record.ports.iter().all(|port| ports::is_free(*port)) => record.ports,
            _ => ports::free()?,
        };
        Ok(Instance {
            kind,
            program: programs::locate(kind)?,
            account,
            folder,
            password: self.password.clone(),
            certificate: self.certificate.clone(),
            ports,
        })
    }

    fn launch(&self, kind: Kind) -> Result<()> {
        // What a crash left, such as a port mapper without its node, would hold the ports.
        self.end(kind, &[])?;
        if let Ok(record) = self.record(kind) {
            // Threads of a killed process may hold its ports for a moment after its end.
            wait::holds_within(PORT_LIMIT, || record.ports.iter().all(|port| ports::is_free(*port)));
        }
        let record = self
            .instance(kind)?
            .launch(&self.home, &self.log(kind), self.lifetime)?;
        record.write(&self.record_file(kind))
    }

    fn wait_until_serving(&self, kind: Kind) -> Result<()> {
        let url = self.url(kind)?;
        let process = self.record(kind)?.process;
        let ended = std::cell::Cell::new(false);
        let served = wait::until_ok(&format!("{kind} does not serve"), START_LIMIT, || {
            ended.set(!process.is_alive());
            if ended.get() { Ok(()) } else { answers(kind, &url) }
        });
        let end_of_log = || {
            format!(
                "the end of its log, {}:\n{}",
                self.log(kind).display(),
                logs::tail(&self.log(kind), 20)
            )
        };
        ensure!(!ended.get(), "{kind} ended while starting; {}", end_of_log());
        served.with_context(end_of_log)
    }

    fn end(&self, kind: Kind, steps: &[(Signal, Duration)]) -> Result<()> {
        let Ok(record) = self.record(kind) else { return Ok(()) };
        record.end(steps).with_context(|| format!("{kind} cannot be stopped"))
    }

    fn signal_all(&self, kind: Kind, signal: Signal) -> Result<()> {
        let process = self.process(kind).with_context(|| format!("{kind} does not run"))?;
        process
            .family()
            .iter()
            .chain([&process])
            .try_for_each(|process| process.signal(signal))
    }

    fn record_file(&self, kind: Kind) -> PathBuf {
        self.home.join(format!("{}.json", kind.name()))
    }

    fn record(&self, kind: Kind) -> Result<Record> {
        Record::read(&self.record_file(kind)).with_context(|| format!("{kind} was not started here"))
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        if self.temporary && self.stop_all().is_ok() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}
