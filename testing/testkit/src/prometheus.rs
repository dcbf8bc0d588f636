//! Prometheus: checks of its files, and a private instance for as long as its value lives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::client::Api;
use crate::launch::{Launch, Lifetime};
use crate::process::ProcessId;
use crate::programs::{Account, Program, in_path};
use crate::servers::{Kind, folder};
use crate::{install, logs, ports, wait};

const CONFIG: &str = "prometheus.yml";
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs `promtool` with these words, such as `check config` and a file. Returns its output.
///
/// # Errors
/// When the package cannot be installed, or when it finds a fault; the error has what it says.
pub fn promtool(words: &[&str]) -> Result<String> {
    install::install(&[Program::Prometheus], |_| ())?;
    let program = in_path("promtool").context("promtool is not installed")?;
    let output = Command::new(program).args(words).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "promtool {}: {said}", words.join(" "));
    Ok(said)
}

/// A Prometheus that runs; it ends when this is dropped, or with this process.
pub struct Prometheus {
    home: PathBuf,
    process: ProcessId,
    api: Api,
}

impl Prometheus {
    /// Starts one with this configuration on a free port. Files that the configuration names lie in `beside`, and are
    /// copied.
    ///
    /// # Errors
    /// When the package cannot be installed, or when it does not start; the error has the end of its log.
    pub fn start(config: &str, beside: &Path) -> Result<Self> {
        install::install(&[Program::Prometheus], |_| ())?;
        let [port] = ports::free()?;
        let account = Account::of(Kind::Postgres)?;
        let home = folder::temporary()?;
        for entry in fs::read_dir(beside)? {
            let path = entry?.path();
            if let (Some(name), Ok(text)) = (path.file_name(), fs::read_to_string(&path))
                && name != CONFIG
            {
                folder::write_for(account, &home.join(name), &text)?;
            }
        }
        let file = home.join(CONFIG);
        folder::write_for(account, &file, config)?;
        let data = home.join("data");
        folder::make_for(account, &data)?;
        let log = home.join("prometheus.log");
        let flag = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
        let process = Launch::server(Program::Prometheus.locate()?, account, &home)
            .arg(flag("config.file", &file.display()))
            .arg(flag("storage.tsdb.path", &data.display()))
            .arg(flag("web.listen-address", &format_args!("127.0.0.1:{port}")))
            .death_signal(Signal::SIGKILL)
            .spawn(&home, &log, Lifetime::Tied)?;
        let prometheus = Self {
            home,
            process,
            api: Api::at(port),
        };
        let is_ready = || {
            prometheus
                .api
                .try_get("/-/ready")
                .is_ok_and(|answer| answer.status == 200)
        };
        let served = wait::holds_within(START_LIMIT, || is_ready() || !prometheus.process.is_alive());
        ensure!(
            served && is_ready(),
            "Prometheus does not serve; the end of its log:\n{}",
            logs::tail(&log, 20)
        );
        Ok(prometheus)
    }

    /// The values of an expression of plain characters, by the value of this label.
    ///
    /// # Errors
    /// When it does not answer, or refuses the expression.
    pub fn query(&self, expression: &str, label: &str) -> Result<Vec<(String, f64)>> {
        let answer = self.api.try_get(&format!("/api/v1/query?query={expression}"))?;
        if answer.status != 200 {
            bail!("{expression}: {answer:?}");
        }
        let answer = answer.json();
        let series = answer["data"]["result"].as_array().context("no result")?;
        let value = |one: &Value| {
            let label = one["metric"][label].as_str().unwrap_or_default().to_owned();
            Some((label, one["value"][1].as_str()?.parse().ok()?))
        };
        series.iter().map(|one| value(one).context("no value")).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if self.process.end(&[]).is_ok() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}
