//! What `pp_bench` says without measuring anything.

use crate::program::Program;

#[test]
fn figures_are_listed() {
    let ended = Program::new("pp_bench").args("--list").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let names: Vec<&str> = ended
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for name in ["drain", "post", "search", "growth"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(
        ended.stdout.lines().all(|line| line.split_whitespace().count() > 3),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_figure_that_nobody_knows_is_refused() {
    let ended = Program::new("pp_bench").args("--only drain,speed").run();
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    for name in ["speed", "drain", "growth"] {
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
}

#[test]
fn sizes_have_bounds() {
    for arguments in [
        "--rounds 0",
        "--seconds 0",
        "--demands 0",
        "--rows 10,0",
        "--clients 10001",
        "--backlog x",
    ] {
        let ended = Program::new("pp_bench").args(arguments).run();
        assert_eq!(ended.code, Some(2), "{arguments}: {}", ended.stdout);
    }
}
