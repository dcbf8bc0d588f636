//! What a process costs, as `/proc` tells it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The unit of the processor time in `/proc`, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The processor time that the process has used, its own and the kernel's for it.
pub(super) fn processor(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name stands in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("an unknown format of /proc")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.map(str::parse::<u32>).sum::<Result<_, _>>()?;
    Ok(TICK * ticks)
}

/// The memory of the process that is there, in KiB.
pub(super) fn resident_kib(pid: u32) -> Result<u64> {
    line(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// How many files this process may open.
pub(super) fn files() -> Result<u64> {
    line("/proc/self/limits", "Max open files")
}

/// The first number behind the name.
fn line(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    let number = number.with_context(|| format!("{file} has no {name}"))?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn this_process_costs_something() {
        let (me, begun) = (std::process::id(), Instant::now());
        let before = processor(me).unwrap();
        // As long as it takes: how much of a processor it gets is not known.
        while processor(me).unwrap() == before {
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
        assert!(resident_kib(me).unwrap() > 1000);
        assert!(files().unwrap() > 3);
    }
}
