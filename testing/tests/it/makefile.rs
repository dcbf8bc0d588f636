//! `make` alone lists every target that people were told of.

use std::path::Path;
use std::process::Command;

const DOCUMENTED: [&str; 29] = [
    "run",
    "up",
    "down",
    "status",
    "logs",
    "test",
    "test-fast",
    "chaos",
    "chaos-embedded",
    "containers-test",
    "staleness",
    "bench",
    "lint",
    "fmt",
    "doc",
    "package",
    "ci",
    "version",
    "create-db",
    "connect-db",
    "run-pp-backend-api",
    "run-task-producer",
    "run-task-consumer",
    "cli-run-01",
    "cli-run-02",
    "db-test",
    "queue-test",
    "http-integration-test",
    "help",
];

#[test]
fn make_lists_each_documented_target_with_a_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let output = Command::new("make")
        .current_dir(root)
        .env_remove("MAKEFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).unwrap();
    for target in DOCUMENTED {
        let line = list.lines().find(|line| line.split_whitespace().nth(1) == Some(target));
        let words = line
            .unwrap_or_else(|| panic!("{target} is not listed in\n{list}"))
            .split_whitespace()
            .count();
        assert!(words > 3, "{target} has no description");
    }
}

#[test]
fn each_listed_target_can_be_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    for target in DOCUMENTED {
        let output = Command::new("make")
            .args(["--dry-run", target])
            .current_dir(root)
            .env_remove("MAKEFLAGS")
            .output();
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "{target}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!output.stdout.is_empty(), "{target} does nothing");
    }
}
