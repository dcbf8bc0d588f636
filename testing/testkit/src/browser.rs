//! Chromium without a window: what a page has become once its scripts have run.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::programs::Program;
use crate::servers::folder;
use crate::{install, logs, wait};

/// How long a page may take, its browser's start included.
const LIMIT: Duration = Duration::from_secs(60);
/// The milliseconds that pass for the page, apart from those in which it waits for an answer.
const BUDGET_MS: u32 = 10_000;

/// Opens a page and returns its document as HTML. Each name leads to the address beside it, whatever the DNS says.
///
/// # Errors
/// When the package cannot be installed, or when the browser fails or takes too long; the error has the end of its log.
pub fn document(url: &str, names: &[(&str, &str)]) -> Result<String> {
    install::install(&[Program::Browser], |_| ())?;
    let home = folder::temporary()?;
    let document = browse(url, names, &home);
    let _ = fs::remove_dir_all(&home);
    document
}

fn browse(url: &str, names: &[(&str, &str)], home: &std::path::Path) -> Result<String> {
    let (shown, log) = (home.join("document.html"), home.join("chromium.log"));
    let rules: Vec<String> = names
        .iter()
        .map(|(name, address)| format!("MAP {name} {address}"))
        .collect();
    let mut browser = Command::new(Program::Browser.locate()?)
        // Its sandbox needs rights that root in a container has not. The pages are the caller's own.
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .arg(format!("--user-data-dir={}", home.join("profile").display()))
        .arg(format!("--host-resolver-rules={}", rules.join(", ")))
        .arg(format!("--virtual-time-budget={BUDGET_MS}"))
        .args(["--dump-dom", url])
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(File::create(&shown)?)
        .stderr(File::create(&log)?)
        .process_group(0)
        .spawn()
        .context("cannot start chromium")?;
    let mut ended = None;
    wait::holds_within(LIMIT, || {
        ended = browser.try_wait().ok().flatten();
        ended.is_some()
    });
    // Its helpers go with it.
    let _ = killpg(Pid::from_raw(browser.id().try_into()?), Signal::SIGKILL);
    let _ = browser.wait();
    match ended {
        Some(status) if status.success() => Ok(fs::read_to_string(&shown)?),
        Some(status) => bail!(
            "chromium ended with {status}; the end of its log:\n{}",
            logs::tail(&log, 10)
        ),
        None => bail!(
            "chromium takes longer than {LIMIT:?}; the end of its log:\n{}",
            logs::tail(&log, 10)
        ),
    }
}
