//! Processes by identity rather than by number: a pid that was given to another process is never taken for the old one.
//!
//! Reads `/proc` and sends signals; starting processes is in [`crate::launch`].

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::wait;

/// One process: its number, and when it started, which its number alone does not say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number; the kernel gives it to another process some time after this one's end.
    pub pid: i32,
    /// Start time in clock ticks since boot, from `/proc/PID/stat`.
    pub started_ticks: u64,
    /// The boot that the ticks count from.
    pub boot_id: String,
}

/// What `/proc/PID/stat` says.
struct Stat {
    dead: bool,
    parent: i32,
    group: i32,
    session: i32,
    started_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid)?;
        let stat = stat(pid).with_context(|| format!("there is no process {pid}"))?;
        Ok(Self {
            pid,
            started_ticks: stat.started_ticks,
            boot_id: boot_id(),
        })
    }

    /// Whether this very process still runs. One that ended but was not waited for yet does not.
    pub fn is_alive(&self) -> bool {
        let Some(stat) = stat(self.pid) else { return false };
        !stat.dead && stat.started_ticks == self.started_ticks && self.boot_id == boot_id()
    }

    /// Sends the signal, to this process and no other; one that is gone counts as signalled.
    ///
    /// # Errors
    /// When the process belongs to somebody else.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot send {signal} to process {}", self.pid)),
        }
    }

    /// Whether the process ended within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        wait::holds_within(limit, || !self.is_alive())
    }

    /// Sends one signal after the other, each when the one before did not end the process in its time, `SIGKILL` at last.
    ///
    /// # Errors
    /// When the process survives all that.
    pub fn end(&self, steps: &[(Signal, Duration)]) -> Result<()> {
        for (signal, limit) in steps.iter().chain(&[(Signal::SIGKILL, Duration::from_secs(10))]) {
            self.signal(*signal)?;
            if self.ends_within(*limit) {
                return Ok(());
            }
        }
        anyhow::bail!("process {} does not end", self.pid)
    }

    /// The process' descendants and the members of its session or group: what it may leave behind. Empty when it is gone,
    /// because then its number says nothing any more.
    pub fn family(&self) -> Vec<Self> {
        if !self.is_alive() {
            return Vec::new();
        }
        let table: HashMap<i32, Stat> = pids().filter_map(|pid| Some((pid, stat(pid)?))).collect();
        let boot_id = boot_id();
        let is_kin = |pid: i32| {
            let mut next = pid;
            // Bounded by the table's size: numbers reused while it was read could form a circle.
            for _ in 0..table.len() {
                let Some(stat) = table.get(&next) else { return false };
                if stat.parent == self.pid || stat.group == self.pid || stat.session == self.pid {
                    return true;
                }
                next = stat.parent;
            }
            false
        };
        let kin = table
            .iter()
            .filter(|(pid, stat)| **pid != self.pid && !stat.dead && is_kin(**pid));
        kin.map(|(pid, stat)| Self {
            pid: *pid,
            started_ticks: stat.started_ticks,
            boot_id: boot_id.clone(),
        })
        .collect()
    }
}

/// All living processes whose environment has `variable` with exactly this value.
pub fn with_variable(variable: &str, value: &str) -> Vec<ProcessId> {
    let entry = format!("{variable}={value}");
    let has_entry = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|found| found == entry.as_bytes())
    };
    let found = pids()
        .filter(has_entry)
        .filter_map(|pid| ProcessId::of(pid.unsigned_abs()).ok());
    found.filter(ProcessId::is_alive).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may itself have blanks and brackets.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse().ok();
    Some(Stat {
        dead: matches!(*fields.first()?, "Z" | "X"),
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started_ticks: fields.get(19)?.parse().ok()?,
    })
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
