//! `pp_chaos faults --embedded` as people run it.

use std::time::Duration;

use pp_chaos::disk::Disk;

use crate::program::{Ended, Program};

/// A run of a few rounds, on a machine that may be busy with everything else.
pub(crate) const LIMIT: Duration = Duration::from_secs(400);

/// Runs it; it must find nothing.
pub(crate) fn is_clean(arguments: &str) -> Ended {
    let ended = Program::new("pp_chaos")
        .args(&format!("faults {arguments}"))
        .run_within(LIMIT);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    ended
}

/// The cells of a line of the table, after the name of the fault.
pub(crate) fn cells(output: &str, name: &str) -> Vec<String> {
    let line = output.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no line {name} in\n{output}"));
    line[name.len()..]
        .split("  ")
        .map(|cell| cell.trim().to_owned())
        .filter(|cell| !cell.is_empty())
        .collect()
}

/// Whether the run with this process number has a disk mounted.
fn has_disk(pid: u32) -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    mounts.contains(&format!("/pp-chaos-{pid}-"))
}

#[test]
fn an_interrupted_run_leaves_nothing_but_its_folder() {
    let mut process = Program::new("pp_chaos")
        .args("faults --embedded --rounds 3 --seed 2")
        .start();
    let pid = process.pid();
    let folder = std::env::temp_dir().join(format!("pp-chaos-{pid}-2"));
    let log = folder.join("pp_standalone.log");
    process.is_seen_to("start pp_standalone", |_| {
        std::fs::read_to_string(&log).is_ok_and(|log| !log.is_empty())
    });
    assert_eq!(has_disk(pid), Disk::is_possible());
    let ended = process.terminate();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("interrupted"), "{ended:?}");
    assert!(
        ended.stdout.contains("make chaos-embedded ROUNDS=3 SEED=2"),
        "{ended:?}"
    );
    assert!(!has_disk(pid));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_embedded_program_loses_nothing_and_repeats_nothing() {
    let ended = is_clean("--embedded --rounds 3 --seed 1");
    assert!(
        ended.stdout.contains("make chaos-embedded ROUNDS=3 SEED=1"),
        "{}",
        ended.stdout
    );
    let total = cells(&ended.stdout, "total");
    let acknowledged: usize = total[1].parse().unwrap();
    assert!(total[0] == "3" && acknowledged > 300, "{}", ended.stdout);
    assert_eq!(total[2..4], ["0", "0"], "{}", ended.stdout);
    assert!(!has_disk(ended.pid));
}
