//! Starting a background process: as whom, where, with which environment, and for how long it may live.
//!
//! What is started is decided elsewhere, by [`crate::servers`] and by the command `up`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::process::ProcessId;
use crate::programs::{self, Account};

/// Every process started here carries this variable. Its value names the folder that it belongs to, so that what was
/// left behind can be found even when its parent is gone.
pub const MARK: &str = "PP_TESTKIT_HOME";

/// How long a process may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Not longer than this process: the kernel ends it when this one dies, be it by `SIGKILL`.
    Tied,
    /// Until it is stopped: in a session of its own, away from this terminal.
    Detached,
}

/// A process about to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    inherits: bool,
    account: Option<Account>,
    folder: Option<PathBuf>,
    death_signal: Signal,
}

impl Launch {
    /// A server: it sees nothing of this process' environment, which could hold settings for another server.
    pub fn server(program: impl Into<PathBuf>, account: Account, folder: &Path) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut launch = Self::service(program);
        launch.inherits = false;
        launch.account = Some(account);
        launch.folder = Some(folder.to_path_buf());
        launch
            .env("PATH", path)
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", folder)
    }

    /// A program of PP: it runs as this user, here, and inherits the environment.
    pub fn service(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            variables: Vec::new(),
            inherits: true,
            account: None,
            folder: None,
            death_signal: Signal::SIGTERM,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, variable: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((variable.into(), value.into()));
        self
    }

    /// The signal that a tied process gets when this process dies; `SIGTERM` unless said otherwise.
    #[must_use]
    pub fn death_signal(mut self, signal: Signal) -> Self {
        self.death_signal = signal;
        self
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// When it cannot be started or fails, with what it wrote.
    pub fn run(&self, input: Option<&Path>) -> Result<()> {
        let mut command = self.command(&[]);
        match input {
            Some(path) => command.stdin(std::fs::File::open(path)?),
            None => command.stdin(Stdio::null()),
        };
        let output = command
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let said = [output.stdout, output.stderr].concat();
        anyhow::ensure!(
            output.status.success(),
            "{} failed ({}): {}",
            self.program.display(),
            output.status,
            String::from_utf8_lossy(&said).trim()
        );
        Ok(())
    }

    /// Starts the program in the background, its output appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started. That it works is not waited for.
    pub fn spawn(&self, home: &Path, log: &Path, lifetime: Lifetime) -> Result<ProcessId> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let wrapper: Vec<OsString> = match (lifetime, programs::in_path("setpriv"), programs::in_path("setsid")) {
            (Lifetime::Tied, Some(setpriv), _) => {
                vec![
                    setpriv.into(),
                    "--pdeathsig".into(),
                    self.death_signal.as_str().trim_start_matches("SIG").into(),
                    "--".into(),
                ]
            }
            (Lifetime::Detached, _, Some(setsid)) => vec![setsid.into()],
            _ => Vec::new(),
        };
        let mut command = self.command(&wrapper);
        command
            .env(MARK, home)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        // In a group of its own, Ctrl+C in the terminal does not reach it. setsid makes that group itself, and would have
        // to fork if it found itself leading one.
        if lifetime == Lifetime::Tied || wrapper.is_empty() {
            command.process_group(0);
        }
        match lifetime {
            Lifetime::Detached => spawn_now(command),
            Lifetime::Tied => spawn_from_lasting_thread(command),
        }
        .with_context(|| format!("cannot start {}", self.program.display()))
    }

    /// The wrappers replace themselves by the program, so that the pid is the program's own.
    fn command(&self, wrapper: &[OsString]) -> Command {
        let mut words = wrapper
            .iter()
            .cloned()
            .chain([self.program.clone().into()])
            .chain(self.args.iter().cloned());
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        if !self.inherits {
            command.env_clear();
        }
        command.envs(self.variables.iter().cloned());
        if let Some(account) = self.account.filter(|account| account.switch) {
            command.uid(account.uid).gid(account.gid);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

fn spawn_now(mut command: Command) -> Result<ProcessId> {
    let mut child = command.spawn()?;
    let process = ProcessId::of(child.id());
    // Somebody has to take it off the process table when it ends.
    thread::spawn(move || child.wait());
    process
}

type Order = (Command, mpsc::SyncSender<Result<ProcessId>>);

/// The kernel sends the death signal when the *thread* that started the process ends. A test's thread ends with the test,
/// so one thread that never ends starts everything that is tied to this process.
fn spawn_from_lasting_thread(command: Command) -> Result<ProcessId> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (command, answer) in inbox {
                // Whoever asked waits for the answer, so it cannot fail to arrive.
                let _ = answer.send(spawn_now(command));
            }
        });
        orders
    });
    let (answer, result) = mpsc::sync_channel(1);
    spawner
        .send((command, answer))
        .ok()
        .context("the thread that starts processes is gone")?;
    result.recv().context("the thread that starts processes is gone")?
}
