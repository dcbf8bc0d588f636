//! One of PP's programs as a process that is killed, stopped, frozen and started again, always with the same settings.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{logs, programs, wait};

/// How long a program may take to end after `SIGTERM`: its grace period is 20 s.
pub const STOP_LIMIT: Duration = Duration::from_secs(25);

/// A program of this build, running or not; it is killed with this value.
pub struct Service {
    name: &'static str,
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Service {
    /// The program beside this one, with its log in `folder`. It is not started yet.
    ///
    /// # Errors
    /// When it is not built.
    pub fn new(
        name: &'static str,
        program: &str,
        folder: &Path,
        variables: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        Ok(Self::of_program(name, &sibling(program)?, folder, variables))
    }

    /// A program of this machine, with its log in `folder`. It is not started yet.
    pub fn of_program(
        name: &'static str,
        program: &Path,
        folder: &Path,
        variables: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            name,
            program: program.to_path_buf(),
            variables,
            args: Vec::new(),
            log: folder.join(format!("{name}.log")),
            child: None,
        }
    }

    /// The same, started with these arguments.
    #[must_use]
    pub fn with_args(mut self, args: &[String]) -> Self {
        self.args = args.to_vec();
        self
    }

    /// Starts it. Call it from a thread that lasts: the kernel ends the program with that thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = match programs::in_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        // What the caller set is meant for other programs than these.
        let ours = std::env::vars_os().map(|(variable, _)| variable);
        for variable in ours.filter(|variable| variable.as_encoded_bytes().starts_with(b"PP_")) {
            command.env_remove(variable);
        }
        command
            .args(&self.args)
            .envs(self.variables.iter().map(|(variable, value)| (*variable, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // Ctrl+C in the terminal is for the one who watches; it stops these in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn();
        self.child = Some(child.with_context(|| format!("cannot start {}", self.program.display()))?);
        Ok(())
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// When it does not run any more, which nobody asked for.
    pub fn kill(&mut self) -> Result<()> {
        self.ensure_running()?;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// When it does not end in time, or not with 0.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let in_time = wait::holds_within(STOP_LIMIT, || !matches!(child.try_wait(), Ok(None)));
        if !in_time {
            child.kill()?;
        }
        let status = child.wait()?;
        ensure!(in_time, "{} did not stop within {} s", self.name, STOP_LIMIT.as_secs());
        ensure!(
            status.success(),
            "{} stopped with {status}; {}",
            self.name,
            self.end_of_log()
        );
        Ok(())
    }

    /// Sends it a signal, such as `SIGSTOP`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid()?.try_into()?), signal)?)
    }

    /// The number of its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&mut self) -> Result<u32> {
        self.ensure_running()?;
        let child = self
            .child
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))?;
        Ok(child.id())
    }

    /// Fails when it does not run.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn ensure_running(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            bail!("{} does not run", self.name)
        };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself with {status}; {}", self.name, self.end_of_log()),
        }
    }

    fn end_of_log(&self) -> String {
        format!("the end of {}:\n{}", self.log.display(), logs::tail(&self.log, 10))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn sibling(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    // A test's own program lies one folder deeper.
    let found = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: cargo build --workspace --bins"))
}
