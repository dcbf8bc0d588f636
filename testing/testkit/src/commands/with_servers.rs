//! `with-servers`: provides servers for one command and stops them when it ends, however it ends.
//!
//! A server whose variable is set already is used as it is, and neither started nor stopped. When this program itself is
//! killed with SIGKILL, the kernel ends the private servers; their folder, and containers, go when the next one starts.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pp_testkit::programs::Program;
use pp_testkit::servers::{Choice, Kind, Provided, answers};
use pp_testkit::{install, signals, wait};

/// How long the command may take to end after it was told to.
const END_LIMIT: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args, choice: Choice) -> Result<ExitCode> {
    let signals = signals::receive()?;
    let missing = check_given()?;
    // Tests start these themselves. Without them they fail, and only they.
    if let Err(error) = install::ensure_all(&Program::OF_TESTS) {
        eprintln!("pp_testkit: {error:#}");
    }
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    let provided = match missing.as_slice() {
        [] => None,
        kinds => Some(provide(choice, kinds)?),
    };
    if let Some(servers) = &provided {
        for kind in missing {
            command.env(kind.test_variable(), servers.url(kind)?);
        }
    }
    if let Ok(signal) = signals.try_recv() {
        return Ok(code_of_signal(signal as i32));
    }
    let child = command
        .spawn()
        .with_context(|| format!("cannot run {}", args.command[0].to_string_lossy()))?;
    let status = supervise(child, &signals)?;
    // The servers stop here, before the exit code tells anybody that all is over.
    drop(provided);
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => code_of_signal(status.signal().unwrap_or_default()),
    })
}

/// Which servers are not given; those that are must answer, or every test would fail with a riddle of its own.
fn check_given() -> Result<Vec<Kind>> {
    let mut missing = Vec::new();
    for kind in Kind::ALL {
        let Some(url) = std::env::var(kind.test_variable()).ok().filter(|url| !url.is_empty()) else {
            missing.push(kind);
            continue;
        };
        answers(kind, &url).with_context(|| format!("{kind} as given in {} does not answer", kind.test_variable()))?;
    }
    Ok(missing)
}

fn provide(choice: Choice, kinds: &[Kind]) -> Result<Provided> {
    let begun = Instant::now();
    let compose = choice.is_compose()?;
    if !compose {
        install::ensure(kinds)?;
    }
    let servers = Provided::temporary(compose, kinds)?;
    let means = if compose {
        "as containers"
    } else {
        "as private instances"
    };
    let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    eprintln!(
        "pp_testkit: {} {means}, ready after {:.1} s",
        names.join(", "),
        begun.elapsed().as_secs_f32()
    );
    Ok(servers)
}

/// Waits for the command's end and passes signals on to it. A Ctrl+C in the terminal reaches it anyway, being in the same
/// process group, so SIGINT is passed on only when the command does not end by itself.
fn supervise(mut child: Child, signals: &Receiver<Signal>) -> Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let mut deadline: Option<(Instant, Signal)> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match signals.recv_timeout(wait::PAUSE) {
            Ok(Signal::SIGINT) if deadline.is_none() => {
                deadline = Some((Instant::now() + Duration::from_secs(2), Signal::SIGTERM));
            }
            Ok(signal) => {
                // It may have ended meanwhile; the next look will tell.
                let _ = kill(pid, signal);
                deadline = Some((Instant::now() + END_LIMIT, Signal::SIGKILL));
            }
            Err(_) => {}
        }
        if let Some((at, signal)) = deadline.filter(|(at, _)| Instant::now() >= *at) {
            let _ = (at, kill(pid, signal));
            deadline = Some((Instant::now() + END_LIMIT, Signal::SIGKILL));
        }
    }
}

/// As shells report it.
fn code_of_signal(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}
