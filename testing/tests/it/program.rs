//! PP's programs as processes of a test: found beside the test's own, without the caller's settings, and ended with it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pp_testkit::client::Api;
use pp_testkit::{ports, programs, wait};
use tempfile::TempDir;

/// The longest a program may take to start, or to end after it was told to.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A program about to be run.
pub(crate) struct Program {
    name: String,
    command: Command,
}

impl Program {
    /// The program, with no variable of PP set.
    pub(crate) fn new(name: &str) -> Self {
        Self::under(&[], name)
    }

    /// The same, by way of a command that becomes it, such as `prlimit`.
    pub(crate) fn under(starter: &[&str], name: &str) -> Self {
        Self::of(name, starter, path(name).into())
    }

    /// A program that is not PP's.
    pub(crate) fn foreign(name: &str, program: PathBuf) -> Self {
        Self::of(name, &[], program.into())
    }

    fn of(name: &str, starter: &[&str], program: OsString) -> Self {
        // The kernel ends it when this thread ends, should the test itself be killed.
        let tied: &[&str] = match programs::in_path("setpriv") {
            Some(_) => &["setpriv", "--pdeathsig", "KILL", "--"],
            None => &[],
        };
        let mut words = tied.iter().chain(starter).map(OsString::from).chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let ours = std::env::vars_os().map(|(variable, _)| variable);
        for variable in ours.filter(|variable| variable.as_encoded_bytes().starts_with(b"PP_")) {
            command.env_remove(variable);
        }
        Self {
            name: name.to_owned(),
            command,
        }
    }

    /// Sets a variable.
    pub(crate) fn set(mut self, variable: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(variable, value);
        self
    }

    /// Gives it this port for its API or, if it has none, for its health pages.
    pub(crate) fn answers_at(self, port: u16) -> Self {
        let variable = match self.name.starts_with("task_") {
            true => "PP_PROBE_BIND",
            false => "PP_API_BIND",
        };
        self.set(variable, format!("127.0.0.1:{port}"))
    }

    /// Adds arguments, those of `words` one by one.
    pub(crate) fn args(mut self, words: &str) -> Self {
        self.command.args(words.split_whitespace());
        self
    }

    /// The folder that it runs in.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Starts it in the background.
    pub(crate) fn start(self) -> Process {
        self.start_with(None)
    }

    /// Starts it with its API or health page on a free port, and waits until it is ready.
    pub(crate) fn start_ready(self) -> (Api, Process) {
        let [port] = ports::free().unwrap();
        let api = Api::at(port);
        let mut process = self.answers_at(port).start();
        process.gets_ready(&api);
        (api, process)
    }

    /// Starts it with a standard error that nobody reads: a pipe that is full from the beginning.
    pub(crate) fn start_unread(self) -> (Process, PipeReader) {
        let (reader, mut writer) = io::pipe().unwrap();
        let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        writer.write_all(&vec![b'\n'; size.try_into().unwrap()]).unwrap();
        (self.start_with(Some(writer)), reader)
    }

    fn start_with(mut self, stderr: Option<PipeWriter>) -> Process {
        let said = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::File::create(said.path().join(name)).unwrap();
        let log = file("stderr");
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(stderr.map_or_else(|| Stdio::from(log), Stdio::from))
            .spawn()
            .unwrap();
        Process {
            name: self.name,
            child,
            said,
        }
    }

    /// Runs it to its end, which it must reach in time.
    pub(crate) fn run(self) -> Ended {
        self.run_within(LIMIT)
    }

    /// The same, for what takes its time.
    pub(crate) fn run_within(self, limit: Duration) -> Ended {
        self.start().ends_within(limit)
    }
}

/// A program of this build.
pub(crate) fn path(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    // Tests lie one folder deeper than programs.
    let program = here.ancestors().nth(2).unwrap().join(name);
    assert!(
        program.is_file(),
        "{} is not built: run `make test`, or `cargo build --workspace --bins` first",
        program.display()
    );
    program
}

/// A program that runs; it is killed when this is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    said: TempDir,
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) pid: u32,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) {
        assert!(self.is_running(), "{} ended by itself: {}", self.name, self.stderr());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits.
    pub(crate) fn terminate(self) -> Ended {
        self.ends_by(Signal::SIGTERM)
    }

    /// Sends it a signal, and waits.
    pub(crate) fn ends_by(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.ends()
    }

    /// Waits for its end, which it must reach in time.
    pub(crate) fn ends(self) -> Ended {
        self.ends_within(LIMIT)
    }

    /// Waits for its end.
    fn ends_within(mut self, limit: Duration) -> Ended {
        assert!(
            wait::holds_within(limit, || !self.is_running()),
            "{} does not end within {limit:?}",
            self.name
        );
        Ended {
            pid: self.child.id(),
            code: self.child.wait().unwrap().code(),
            stdout: self.read("stdout"),
            stderr: self.stderr(),
        }
    }

    /// Freezes it: it stays as it is, and does nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it did not end yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// What it wrote to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Waits until it has written this to standard error.
    pub(crate) fn says(&mut self, text: &str) {
        self.is_seen_to(&format!("say {text:?}"), |process| process.stderr().contains(text));
    }

    /// Waits until `condition` holds, while it runs.
    pub(crate) fn is_seen_to(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition(self) {
            assert!(self.is_running(), "{} ended: {}", self.name, self.stderr());
            assert!(
                Instant::now() < deadline,
                "{} was not seen to {what}: {}",
                self.name,
                self.stderr()
            );
            std::thread::sleep(wait::PAUSE);
        }
    }

    /// Waits until it answers as ready.
    pub(crate) fn gets_ready(&mut self, api: &Api) {
        self.is_seen_to("be ready", |_| api.is_ready());
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.said.path().join(name)).unwrap()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(io::stderr(), "--- {} wrote:\n{}", self.name, self.stderr());
        }
    }
}
