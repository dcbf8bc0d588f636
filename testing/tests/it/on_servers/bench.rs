//! `pp_bench` as people run it, with numbers so small that they say nothing: what it tells is there, and exact.

use std::fs;

use serde_json::Value;

use crate::chaos::LIMIT;
use crate::program::Program;

/// What a run of these figures wrote, and printed.
fn run(only: &str) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let sizes = "--rounds 1 --seconds 1 --demands 300 --rows 200,400";
    let ended = Program::new("pp_bench")
        .args(&format!("--only {only} --out {} {sizes}", folder.path().display()))
        .run_within(LIMIT);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let json = fs::read_to_string(&files[0]).unwrap();
    (serde_json::from_str(&json).unwrap(), ended.stdout)
}

/// Each figure has a number, and stands in the table with it.
fn is_told(report: &Value, printed: &str, wanted: &[&str]) {
    assert_eq!(report["errors"], Value::Array(Vec::new()), "{report}");
    for name in ["time", "commit", "machine", "PostgreSQL", "RabbitMQ", "Redis"] {
        assert!(
            report["conditions"][name]
                .as_str()
                .is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
    assert!(
        report["conditions"]["PostgreSQL"]
            .as_str()
            .unwrap()
            .contains("fsync on")
    );
    let figures = report["figures"].as_array().unwrap();
    for start in wanted {
        let found = figures
            .iter()
            .find(|figure| figure["what"].as_str().unwrap().starts_with(start));
        let figure = found.unwrap_or_else(|| panic!("{start} is not among {figures:?}"));
        assert!(figure["values"]["median"].as_f64().unwrap() > 0.0, "{figure}");
        assert!(printed.contains(figure["what"].as_str().unwrap()), "{printed}");
        if let Some(limit) = figure["limit"].as_object() {
            assert!(limit["values"]["median"].as_f64().unwrap() > 0.0, "{figure}");
        }
    }
}

/// The command itself fails where rows, events or messages are not what was asked for.
#[test]
fn a_drain_and_posts_are_exact_and_told() {
    let (report, printed) = run("drain,post");
    let wanted = [
        "drain, one consumer; feed",
        "drain, one consumer and",
        "POST /work, 64",
        "POST /work, p99",
    ];
    is_told(&report, &printed, &wanted);
    let limited = report["figures"].as_array().unwrap().iter();
    assert_eq!(limited.filter(|figure| figure["ratio"].is_f64()).count(), 3, "{report}");
}

#[test]
fn kinds_and_single_works_are_exact_and_told() {
    let (report, printed) = run("kinds,kinds_isolation,single");
    let wanted = [
        "drain of one kind",
        "drain of 20 such kinds",
        "one work of a kind at 100/s, nothing else: p50",
        "one work of a kind at 100/s, another floods its queue: p99",
        "one work of a kind at 100/s, another hangs: p99",
        "one sum at 100/s, message to events: p50",
        "one sum at 100/s, POST to done; API and consumer: p99",
        "one sum at 100/s, POST to done; standalone: p50",
    ];
    is_told(&report, &printed, &wanted);
}

#[test]
fn the_cost_of_keys_is_told() {
    let (report, printed) = run("keys");
    let wanted = [
        "GET /work/{id} with a key, near",
        "POST /work with a key, 64",
        "POST /work with a key that has a bound",
    ];
    is_told(&report, &printed, &wanted);
}

#[test]
fn large_tables_are_made_searched_and_told() {
    let (report, printed) = run("search");
    let wanted = [
        "search by prefix, 200 rows: p50",
        "search by prefix, 400 rows: p99",
        "search: p99 of 400 rows",
    ];
    is_told(&report, &printed, &wanted);
}
