//! Installs the packages that are missing, such as those of servers, without letting them start anything.
//!
//! What is installed is looked up in [`crate::programs`]; how the package manager is driven is in `install/apt.sh`, a
//! shell script because it must run as root as a whole, also by way of `sudo`. Nothing here starts a server.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::logs;
use crate::programs::{self, Program};
use crate::servers::{Kind, folder};

const SCRIPT: &str = include_str!("install/apt.sh");

/// Installs the servers that are missing and tells so, on standard error: the output may be another command's.
///
/// # Errors
/// As [`install`].
pub fn ensure(kinds: &[Kind]) -> Result<()> {
    ensure_all(&kinds.iter().copied().map(Program::from).collect::<Vec<_>>())
}

/// The same for programs that are no servers.
///
/// # Errors
/// As [`install`].
pub fn ensure_all(programs: &[Program]) -> Result<()> {
    install(programs, |packages| {
        let _ = writeln!(std::io::stderr(), "pp_testkit: installing {packages}");
    })?;
    Ok(())
}

/// How packages can be installed here.
enum Means {
    /// This process is root.
    Root,
    /// `sudo` works without a password.
    Sudo,
}

/// The programs among `wanted` that are not on this machine.
pub fn missing(wanted: &[Program]) -> Vec<Program> {
    let is_missing = |program: &Program| program.locate().is_err();
    wanted.iter().copied().filter(is_missing).collect()
}

/// Installs what is missing among `wanted` and returns what was installed. The package manager's own output goes to
/// a log file, and its last lines into the error when it fails. `announce` is told the packages before it begins.
///
/// Two processes that install at the same time take turns; the second finds nothing left to do.
///
/// # Errors
/// One line naming the packages, when this user may not install them or there is no `apt-get`.
pub fn install(wanted: &[Program], announce: impl FnOnce(&str)) -> Result<Vec<Program>> {
    if missing(wanted).is_empty() {
        return Ok(Vec::new());
    }
    let folder = own_folder()?;
    let _turn = take_turn(&folder)?;
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(missing);
    }
    let packages: Vec<&str> = missing.iter().map(|program| program.package()).collect();
    let Some(means) = means() else {
        bail!(what_to_install(&packages))
    };
    announce(&packages.join(", "));
    run_script(&means, &packages, &folder.join("install.log"))?;
    for program in &missing {
        let located = program.locate();
        located.with_context(|| format!("{} is installed, but", program.package()))?;
    }
    Ok(missing)
}

/// The one line for a machine where nothing can be installed from here.
pub fn what_to_install(packages: &[&str]) -> String {
    format!(
        "missing packages, and this user cannot install them: install {} (on Debian: sudo apt-get install {})",
        packages.join(", "),
        packages.join(" ")
    )
}

fn means() -> Option<Means> {
    programs::in_path("apt-get")?;
    if nix::unistd::geteuid().is_root() {
        return Some(Means::Root);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stdin(Stdio::null()).output();
    sudo.is_ok_and(|output| output.status.success()).then_some(Means::Sudo)
}

fn run_script(means: &Means, packages: &[&str], log: &Path) -> Result<()> {
    let mut command = match means {
        Means::Root => Command::new("sh"),
        Means::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "sh"]);
            sudo
        }
    };
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = command
        .args(["-s", "--"])
        .args(packages)
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output)
        // In a group of its own: Ctrl+C must not end the package manager half way.
        .process_group(0)
        .spawn()
        .context("cannot start a shell for the installation")?;
    child
        .stdin
        .take()
        .context("the shell has no input")?
        .write_all(SCRIPT.as_bytes())?;
    if !child.wait()?.success() {
        bail!(
            "installing {} failed, {} says:\n{}",
            packages.join(", "),
            log.display(),
            logs::tail(log, 15)
        );
    }
    Ok(())
}

/// The folder of this user's installations: their lock and the last one's log.
pub(crate) fn own_folder() -> Result<PathBuf> {
    let folder = PathBuf::from("/var/tmp").join(format!("pp-testkit-{}", nix::unistd::geteuid()));
    folder::make(&folder, 0o700)?;
    Ok(folder)
}

/// Waits for other processes of this user that install. Across users apt's own lock does the same.
pub(crate) fn take_turn(folder: &Path) -> Result<File> {
    let path = folder.join("install.lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(lock)
}
