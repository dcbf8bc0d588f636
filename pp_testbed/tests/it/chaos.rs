//! `pp_testbed chaos --embedded` as people run it.

use std::time::Duration;

use crate::program::{Ended, Program};

/// A run of a few rounds, on a machine that may be busy with everything else.
pub(crate) const LIMIT: Duration = Duration::from_secs(400);

/// Runs it; it must find nothing.
pub(crate) fn is_clean(arguments: &str) -> Ended {
    let ended = Program::new("pp_testbed")
        .args(&format!("chaos {arguments}"))
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
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let own = format!("{}-", ended.pid);
    assert!(
        !mounts
            .lines()
            .any(|line| line.contains("/pp-chaos-") && line.contains(&own)),
        "{mounts}"
    );
}
