//! Whether a work's events tell what happened to it: each step once, in order, generation by generation.

use super::check::Findings;
use super::evidence::Row;

/// Steps that are told once in a generation; a start and an error are told for each attempt that failed.
const ONCE: [&str; 4] = ["created", "redriven", "stop", "result"];

/// Looks at one work.
pub fn examine(row: &Row, findings: &mut Findings) {
    let mut told: Vec<(i32, Vec<&str>)> = Vec::new();
    for (generation, word) in &row.history {
        match told.last_mut() {
            Some((last, words)) if last == generation => words.push(word),
            _ => told.push((*generation, vec![word])),
        }
    }
    let numbers: Vec<i32> = told.iter().map(|(generation, _)| *generation).collect();
    let expected: Vec<i32> = (1..=row.generation).collect();
    let wrong = numbers != expected
        || told
            .iter()
            .any(|(generation, words)| !is_right(row, *generation, words));
    if wrong {
        let line = format!(
            "work {} (generation {}) is told as {:?}",
            row.id, row.generation, row.history
        );
        if told.iter().any(|(_, words)| is_doubled(words)) || numbers.len() > expected.len() {
            findings.duplicated.push(line);
        } else {
            findings.lost.push(line);
        }
    }
}

/// `created` or `redriven`, attempts that failed, and at last the one that did not, unless all failed.
fn is_right(row: &Row, generation: i32, words: &[&str]) -> bool {
    let rest = match (generation, words) {
        (1, ["created", rest @ ..]) if row.from_api => rest,
        (1, rest) if !row.from_api => rest,
        (_, ["redriven", rest @ ..]) => rest,
        _ => return false,
    };
    let failed = rest.chunks(2).take_while(|pair| pair == &["start", "error"]).count();
    let end = &rest[2 * failed..];
    let is_done = row.status == "done" && generation == row.generation;
    let result = format!("result={}", row.result.unwrap_or_default());
    match end {
        ["start", "stop", last] => is_done && *last == result,
        [] => !is_done && failed > 0,
        _ => false,
    }
}

fn is_doubled(words: &[&str]) -> bool {
    let times = |once: &str| words.iter().filter(|word| word.split('=').next() == Some(once)).count();
    let (starts, ends) = (times("start"), times("error") + times("stop"));
    ONCE.iter().any(|once| times(once) > 1) || ends > starts || starts > ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: &str, generation: i32, told: &[(i32, &str)]) -> (usize, usize) {
        let row = Row {
            id: 1,
            from_api: told.iter().any(|(_, words)| words.contains("created")),
            message_id: None,
            bound: 4,
            status: status.into(),
            result: (status == "done").then_some(10),
            generation,
            updated_on: 0.0,
            history: told
                .iter()
                .flat_map(|(generation, words)| words.split(' ').map(|word| (*generation, word.to_owned())))
                .collect(),
        };
        let mut findings = Findings::default();
        examine(&row, &mut findings);
        (findings.lost.len(), findings.duplicated.len())
    }

    #[test]
    fn right_histories_are_right() {
        for told in [
            "start stop result=10",
            "created start stop result=10",
            "created start error start stop result=10",
        ] {
            assert_eq!(judged("done", 1, &[(1, told)]), (0, 0), "{told}");
        }
        assert_eq!(judged("failed", 1, &[(1, "created start error start error")]), (0, 0));
        let again = [
            (1, "created start error"),
            (2, "redriven start error"),
            (3, "redriven start stop result=10"),
        ];
        assert_eq!(judged("done", 3, &again), (0, 0));
    }

    #[test]
    fn what_is_told_twice_is_duplicated() {
        for told in [
            "created created start stop result=10",
            "created start stop result=10 result=10",
            "created start start stop result=10",
            "created start stop stop result=10",
            "created start stop result=10 start stop result=10",
            "created start error error start stop result=10",
        ] {
            assert_eq!(judged("done", 1, &[(1, told)]), (0, 1), "{told}");
        }
        let again = [(1, "created start error"), (2, "redriven redriven start error")];
        assert_eq!(judged("failed", 2, &again), (0, 1));
        assert_eq!(judged("failed", 1, &again), (0, 1), "a generation that never was");
    }

    #[test]
    fn what_is_missing_or_wrong_is_lost() {
        for told in [
            "created start stop",
            "created",
            "created start stop result=11",
            "stop start result=10",
        ] {
            let (lost, duplicated) = judged("done", 1, &[(1, told)]);
            assert_eq!(lost + duplicated, 1, "{told}");
        }
        assert_eq!(judged("done", 1, &[]), (1, 0));
        assert_eq!(judged("done", 1, &[(1, "created start stop result=11")]), (1, 0));
        assert_eq!(judged("done", 1, &[(1, "start created stop result=10")]), (1, 0));
        assert_eq!(
            judged("failed", 2, &[(1, "created start error"), (2, "start error")]),
            (1, 0),
            "not redriven"
        );
        assert_eq!(judged("failed", 2, &[(1, "created start error")]), (1, 0), "not told");
    }
}
