//! Where and on what a run was measured: machine, versions, settings that durability depends on, and what else was running.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use super::stand::Stand;
use pp_chaos::ledger;
use pp_testkit::servers::Kind;

/// Everything that a figure depends on besides the code, by name.
#[derive(Clone, Debug)]
pub struct Conditions(Vec<(&'static str, String)>);

const SETTINGS: [&str; 7] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
];

impl Conditions {
    /// As they are now.
    ///
    /// # Errors
    /// When a server does not say what it is.
    pub fn see(stand: &Stand) -> Result<Self> {
        let postgres = stand.runtime.block_on(postgres(stand))?;
        Ok(Self(vec![
            ("time", timestamp()?),
            ("commit", commit()),
            ("machine", machine()),
            ("kernel", first_line("/proc/sys/kernel/osrelease")),
            ("load", load()),
            ("PostgreSQL", postgres),
            (
                "RabbitMQ",
                said(stand, Kind::RabbitMq, "Starting RabbitMQ ")? + "; durable quorum queues, persistent messages",
            ),
            (
                "Redis",
                said(stand, Kind::Redis, "Redis version=")? + "; nothing on disk",
            ),
        ]))
    }

    /// What else was running in the end: the load average includes the run's own.
    pub fn finish(&mut self) {
        self.0.push(("load in the end", load()));
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    pub(super) fn json(&self) -> Value {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()));
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        Self(vec![("machine", "a test's".to_owned())])
    }
}

async fn postgres(stand: &Stand) -> Result<String> {
    let client = ledger::client(&stand.servers.url(Kind::Postgres)?).await?;
    let version: String = client.query_one("SHOW server_version", &[]).await?.try_get(0)?;
    let mut words = vec![version];
    for setting in SETTINGS {
        let value: String = client.query_one(&format!("SHOW {setting}"), &[]).await?.try_get(0)?;
        words.push(format!("{setting} {value}"));
    }
    Ok(words.join(", "))
}

/// What the server's own log says behind these words, up to a comma or the end of the line.
fn said(stand: &Stand, kind: Kind, words: &str) -> Result<String> {
    let log = fs::read_to_string(stand.servers.log(kind))?;
    let found = log.lines().find_map(|line| Some(line.split_once(words)?.1));
    let found = found.with_context(|| format!("the log of {kind} does not name its version"))?;
    Ok(found.split(',').next().unwrap_or(found).trim().to_owned())
}

/// The Unix second, and for people the date and time (UTC).
fn timestamp() -> Result<String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let date = Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .context("cannot run date")?;
    Ok(String::from_utf8(date.stdout)?.trim().to_owned())
}

/// What the code is; unknown where it is no repository.
fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(text)
    };
    match (
        git(&["rev-parse", "--short=12", "HEAD"]),
        git(&["status", "--porcelain"]),
    ) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        _ => "unknown".to_owned(),
    }
}

fn machine() -> String {
    let model = value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let memory = value("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let memory = memory.map_or("unknown".to_owned(), |kib| format!("{} GiB", kib.div_ceil(1 << 20)));
    format!("{cores} cores ({model}), {memory}; servers and load generator on it too")
}

fn load() -> String {
    let averages = first_line("/proc/loadavg");
    let words: Vec<&str> = averages.split(' ').take(3).collect();
    format!("{} (averages over 1, 5 and 15 minutes)", words.join(" "))
}

fn value(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_owned())
}

fn first_line(file: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
