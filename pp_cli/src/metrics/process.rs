//! The metrics of the process itself, read from `/proc` for each page. Other systems than Linux have none.

use std::fmt::Write as _;
use std::fs;

use pp_lib::runtime::Metric;

/// The unit of times in `/proc`, the same on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

const MEMORY: Metric = Metric::gauging(
    "pp_process_resident_memory_bytes",
    &[],
    "Memory of the process that is in RAM.",
);
const FILES: Metric = Metric::gauging(
    "pp_process_open_fds",
    &[],
    "Open file descriptors, connections included.",
);
const FILES_LIMIT: Metric = Metric::gauging("pp_process_max_fds", &[], "The most open file descriptors.");
const THREADS: Metric = Metric::gauging("pp_process_threads", &[], "Threads of the process.");
const CPU: Metric = Metric::counting(
    "pp_process_cpu_seconds_total",
    &[],
    "Time of all processors that the process used.",
);
const STARTED: Metric = Metric::gauging(
    "pp_process_start_time_seconds",
    &[],
    "Unix time at which the process started.",
);

pub(super) const ALL: [Metric; 6] = [MEMORY, FILES, FILES_LIMIT, THREADS, CPU, STARTED];

/// The metrics in the text format of Prometheus. What cannot be read is left out.
pub(super) fn page() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (status, limits) = (read("/proc/self/status"), read("/proc/self/limits"));
    let (stat, system) = (read("/proc/self/stat"), read("/proc/stat"));
    let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    let times = Times::of(&stat);
    let mut page = String::new();
    for (metric, value) in [
        (MEMORY, after(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024.0)),
        (FILES, files),
        (FILES_LIMIT, after(&limits, "Max open files")),
        (THREADS, after(&status, "Threads:")),
        (CPU, times.as_ref().map(|times| times.used)),
        (
            STARTED,
            times.and_then(|times| Some(after(&system, "btime")? + times.started)),
        ),
    ] {
        if let Some(value) = value {
            let Metric { name, kind, help, .. } = metric;
            let kind = kind.as_str();
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    }
    page
}

/// The first number of the line that begins with this.
fn after(text: &str, beginning: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Times in seconds.
#[derive(Debug, PartialEq)]
struct Times {
    used: f64,
    /// Since the start of the system.
    started: f64,
}

impl Times {
    fn of(stat: &str) -> Option<Self> {
        // The second field is a name in brackets, and may contain anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        let used = seconds()? + seconds()?;
        let started = fields.nth(6)?.parse::<f64>().ok()? / TICKS_PER_SECOND;
        Some(Self { used, started })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 12345 1 1 1";
        let times = Times::of(stat).unwrap();
        assert_eq!((times.used, times.started), (2.0, 123.45));
        assert_eq!(Times::of("7 (short) S 1"), None);
        assert_eq!(Times::of(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_shown() {
        let page = page();
        let value = |name: &str| after(&page, &format!("{name} ")).unwrap_or_else(|| panic!("{name}: {page}"));
        for metric in ALL {
            assert!(value(metric.name) >= 0.0, "{page}");
        }
        assert!(value(MEMORY.name) > 1_000_000.0 && value(FILES.name) > 2.0, "{page}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - value(STARTED.name)).abs() < 3600.0, "{now}: {page}");
    }
}
