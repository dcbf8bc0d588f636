//! Whether a work's events tell what happened to it: each step once, in order, generation by generation.

use super::asks::Ask;
use super::check::Findings;
use super::evidence::Row;

/// Steps that are told once in a generation; a start and an error are told for each attempt that failed.
const ONCE: [&str; 6] = ["created", "redriven", "updated", "stop", "result", "cancelled"];

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
    let next = |place: usize| told.get(place + 1).and_then(|(_, words)| words.first()).copied();
    let wrong = numbers != expected
        || told
            .iter()
            .enumerate()
            .any(|(place, (generation, words))| !is_right(row, *generation, words, next(place)));
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

/// `created`, `redriven` or other arguments, attempts that failed, and at last the one that did not, unless all failed. What
/// was under way when the work was given other arguments, cancelled or deleted, is told of no more.
fn is_right(row: &Row, generation: i32, words: &[&str], next: Option<&str>) -> bool {
    let rest = match (generation, words) {
        (1, ["created", rest @ ..]) if row.is_created() => rest,
        (1, rest) if !row.is_created() => rest,
        (2.., ["redriven", rest @ ..]) => rest,
        (2.., [begin, rest @ ..]) if row.given(begin).is_some() => rest,
        _ => return false,
    };
    let last = generation == row.generation;
    let rest = match rest.split_last() {
        Some((&"cancelled", before)) if last && row.deleted => before,
        _ if last && row.deleted => return false,
        _ => rest,
    };
    // A work that is deleted may have been cancelled before.
    let (rest, cancelled) = match rest.split_last() {
        Some((&"cancelled", before)) => (before, true),
        _ => (rest, false),
    };
    if last && !row.deleted && cancelled != (row.status == "cancelled") {
        return false;
    }
    let cut_short = cancelled || next.and_then(|next| row.given(next)).is_some() || last && row.status == "cancelled";
    let failed = rest.chunks(2).take_while(|pair| pair == &["start", "error"]).count();
    match &rest[2 * failed..] {
        ["start", "stop", ..] if cancelled => false,
        ["start", "stop", result] if last => row.status == "done" && is_result(result, row.ask),
        // The first arguments of a work are not compared.
        ["start", "stop", result] => {
            cut_short
                && words
                    .first()
                    .and_then(|begin| row.given(begin))
                    .is_none_or(|ask| is_result(result, ask))
        }
        ["start"] => cut_short,
        [] => cut_short || failed > 0 && !(last && row.status == "done"),
        _ => false,
    }
}

fn is_result(word: &str, ask: Ask) -> bool {
    let told = word.strip_prefix("result=").and_then(|told| told.parse().ok());
    told.is_some() && told == ask.result()
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
        let deleted = told.iter().any(|(_, words)| words.ends_with("cancelled"));
        let mut findings = Findings::default();
        examine(&row(status, generation, told, deleted), &mut findings);
        (findings.lost.len(), findings.duplicated.len())
    }

    fn row(status: &str, generation: i32, told: &[(i32, &str)], deleted: bool) -> Row {
        Row {
            id: 1,
            work_code: match told.iter().any(|(_, words)| words.contains("created")) {
                true => "api-0123456789".into(),
                false => "consumer-0123456789".into(),
            },
            deleted,
            message_id: None,
            ask: Ask::Sum(4),
            status: status.into(),
            result: (status == "done").then_some(10),
            generation,
            updated_on: 0.0,
            history: told
                .iter()
                .flat_map(|(generation, words)| words.split(' ').map(|word| (*generation, word.to_owned())))
                .collect(),
        }
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
    fn another_bound_begins_a_generation_and_cuts_the_one_before_short() {
        let given = |before: &'static str| [(1, before), (2, "updated=4 start stop result=10")];
        for before in [
            "created",
            "created start",
            "created start error",
            "created start error start",
            "created start stop result=55",
            "start stop result=55",
        ] {
            assert_eq!(judged("done", 2, &given(before)), (0, 0), "{before}");
        }
        let series = [
            (1, "created"),
            (2, "updated=5 start stop result=15"),
            (3, "updated=4 start stop result=10"),
        ];
        assert_eq!(judged("done", 3, &series), (0, 0));
        let redriven = [
            (1, "created start error"),
            (2, "redriven start"),
            (3, "updated=4 start stop result=10"),
        ];
        assert_eq!(judged("done", 3, &redriven), (0, 0));

        let wrong = [
            (1, "created"),
            (2, "updated=5 start stop result=16"),
            (3, "updated=4 start stop result=10"),
        ];
        assert_eq!(judged("done", 3, &wrong), (1, 0), "a sum of another bound");
        let open = [(1, "created start"), (2, "redriven start stop result=10")];
        assert_ne!(judged("done", 2, &open), (0, 0), "cut short by nothing");
        let twice = [(1, "created"), (2, "updated=4 updated=4 start stop result=10")];
        assert_eq!(judged("done", 2, &twice), (0, 1));
        assert_ne!(
            judged("done", 2, &[(1, "created"), (2, "start stop result=10")]),
            (0, 0),
            "not told"
        );
    }

    #[test]
    fn a_deletion_is_the_last_that_is_told() {
        for before in [
            "created",
            "created start",
            "created start error",
            "created start error start",
        ] {
            assert_eq!(
                judged("cancelled", 1, &[(1, &format!("{before} cancelled"))]),
                (0, 0),
                "{before}"
            );
        }
        assert_eq!(
            judged("done", 1, &[(1, "created start stop result=10 cancelled")]),
            (0, 0)
        );
        assert_eq!(judged("failed", 1, &[(1, "created start error cancelled")]), (0, 0));
        let updated = [(1, "created start"), (2, "updated=4 start cancelled")];
        assert_eq!(judged("cancelled", 2, &updated), (0, 0));

        assert_ne!(
            judged("cancelled", 1, &[(1, "created cancelled start stop result=10")]),
            (0, 0)
        );
        assert_eq!(
            judged("cancelled", 1, &[(1, "created cancelled cancelled cancelled")]),
            (0, 1)
        );
        assert_ne!(
            judged("cancelled", 1, &[(1, "created start stop result=10 cancelled")]),
            (0, 0)
        );
        assert_ne!(judged("done", 1, &[(1, "created start cancelled")]), (0, 0));
    }

    #[test]
    fn a_cancellation_ends_a_generation_until_another_begins() {
        let cancelled = |told: &[(i32, &str)], deleted, status: &str| {
            let generation = told.last().unwrap().0;
            let mut findings = Findings::default();
            examine(&row(status, generation, told, deleted), &mut findings);
            findings.is_clean()
        };
        for before in [
            "created",
            "created start",
            "created start error",
            "created start error start",
        ] {
            let ended = format!("{before} cancelled");
            assert!(cancelled(&[(1, &ended)], false, "cancelled"), "{before}");
            assert!(
                cancelled(&[(1, &format!("{ended} cancelled"))], true, "cancelled"),
                "{before}"
            );
            for begin in ["redriven", "updated=4"] {
                let again = format!("{begin} start stop result=10");
                assert!(
                    cancelled(&[(1, &ended), (2, &again)], false, "done"),
                    "{before} {begin}"
                );
                let ended_again = format!("{begin} start cancelled");
                assert!(
                    cancelled(&[(1, &ended), (2, &ended_again)], false, "cancelled"),
                    "{before}"
                );
            }
        }
        for (told, status) in [
            ("created cancelled start stop result=10", "done"),
            ("created start stop result=10 cancelled", "cancelled"),
            ("created cancelled", "done"),
            ("created start", "cancelled"),
            ("created cancelled cancelled", "cancelled"),
        ] {
            assert!(!cancelled(&[(1, told)], false, status), "{told}");
        }
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
