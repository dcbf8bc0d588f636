//! That each kind of damage to a right account is found, and nothing else is.

#[path = "kinds_tests.rs"]
mod kinds;

use super::*;
use crate::asks::{FAILS, Mood};
use crate::calls::Call;
use crate::evidence::Letter;
use crate::told::Change;

/// Work 1 came over the API, work 2 as message `m`, work 3 fails; a message `u` was unreadable. Work 11 is of another kind
/// and came as message `m` too, work 12 fails twice, and work 13 for good.
fn account() -> (Told, Evidence) {
    let acknowledged = |identity, ask| Acknowledged { identity, ask, at: 1.0 };
    let (slow, twice, fails) = (
        Ask::Slow(70),
        Ask::Moody(Mood::FailsTwice, 5),
        Ask::Moody(Mood::Fails, 6),
    );
    let told = Told {
        acknowledged: vec![
            acknowledged(Identity::Work(1), None),
            acknowledged(Identity::Message("m".into()), Some(Ask::Sum(4))),
            acknowledged(Identity::Work(3), Some(Ask::Sum(FAILS))),
            acknowledged(Identity::Message("m".into()), Some(slow)),
            acknowledged(Identity::Work(12), Some(twice)),
            acknowledged(Identity::Code("app-0000000013".into()), Some(fails)),
        ],
        unreadable: vec!["u".into()],
        ..Told::default()
    };
    let letter = |kind: &str, work_id: Option<i64>, message_id: &str| Letter {
        kind: kind.into(),
        work_id,
        generation: work_id.map(|_| 1),
        message_id: Some(message_id.into()),
    };
    let mut rows = vec![
        row(1, Ask::Sum(99), "created start stop result=4950"),
        row(2, Ask::Sum(4), "start stop result=10"),
        row(3, Ask::Sum(FAILS), "created start error"),
        row(11, slow, "start stop result=70"),
        row(12, twice, "created start error start error start stop result=5"),
        row(13, fails, "created start error"),
    ];
    rows[3].message_id = Some("m".into());
    rows[5].work_code = "app-0000000013".into();
    let call = |row: &Row, attempt| Call {
        kind: row.ask.kind().into(),
        work_code: row.work_code.clone(),
        generation: 1,
        attempt,
        message_id: row.message_id.clone().unwrap(),
    };
    let calls = [(3, 1), (4, 1), (4, 2), (4, 3), (5, 1)];
    let evidence = Evidence {
        calls: calls
            .map(|(row, attempt): (usize, _)| call(&rows[row], attempt))
            .to_vec(),
        rows,
        letters: vec![
            letter("add_up_to", Some(3), "x"),
            letter("add_up_to", None, "u"),
            letter("chaos.moody", Some(13), "y"),
        ],
        shows_deleted: true,
        orphans: 0,
        begun_again: None,
    };
    (told, evidence)
}

fn row(id: i64, ask: Ask, told: &str) -> Row {
    Row {
        id,
        work_code: format!(
            "{}-{id:010}",
            if told.starts_with("created") { "api" } else { "consumer" }
        ),
        deleted: false,
        message_id: Some(if id == 2 { "m".to_owned() } else { format!("id of {id}") }),
        ask,
        status: if ask.fails() { "failed" } else { "done" }.into(),
        result: ask.result(),
        generation: 1,
        updated_on: 2.0,
        history: told.split(' ').map(|word| (1, word.to_owned())).collect(),
    }
}

/// How many lines say lost and duplicated after a change of a right account.
fn found(change: impl FnOnce(&mut Told, &mut Evidence)) -> (usize, usize) {
    let (mut told, mut evidence) = account();
    change(&mut told, &mut evidence);
    let again = evidence
        .rows
        .iter()
        .map(|row| i64::try_from(row.redrives()).unwrap())
        .sum();
    let mut findings = examine_the_whole(&told, &evidence);
    findings.extend(examine_redrives(&told, 0, again));
    (findings.lost.len(), findings.duplicated.len())
}

#[test]
fn a_right_account_is_clean() {
    assert_eq!(found(|_, _| ()), (0, 0));
}

#[test]
fn what_is_not_there_is_lost() {
    assert_eq!(found(|_, evidence| drop(evidence.rows.remove(0))), (1, 0));
    assert_eq!(found(|_, evidence| drop(evidence.rows.remove(1))), (1, 0));
    assert_eq!(
        found(|_, evidence| drop(evidence.letters.remove(0))),
        (1, 0),
        "a work's dead letter"
    );
    assert_eq!(
        found(|_, evidence| drop(evidence.letters.remove(1))),
        (1, 0),
        "a message's dead letter"
    );
    assert_eq!(found(|told, _| told.given_up.push("a call".into())), (1, 0));
}

#[test]
fn what_is_not_as_it_was_asked_for_is_lost() {
    assert_eq!(found(|told, _| told.acknowledged[1].ask = Some(Ask::Sum(5))), (1, 0));
    assert_eq!(
        found(|told, _| told.acknowledged[0].identity = Identity::Work(3)),
        (2, 1),
        "one work for two"
    );
    assert_eq!(
        found(|told, _| told.redriven_works.push(3)),
        (1, 0),
        "a redrive without effect"
    );
    assert_eq!(found(|_, evidence| evidence.rows[0].status = "running".into()), (2, 0));
}

/// Work 1 was given the bound 7 and then 4.
fn changed(told: &mut Told, evidence: &mut Evidence) {
    let row = &mut evidence.rows[0];
    (row.ask, row.result, row.generation) = (Ask::Sum(4), Some(10), 3);
    row.history = vec![(1, "created".into()), (2, "updated=7".into()), (2, "start".into())];
    let last = ["updated=4", "start", "stop", "result=10"];
    row.history.extend(last.map(|word| (3, word.to_owned())));
    let given = [7, 4].map(Ask::Sum).to_vec();
    told.changes.insert(
        1,
        Changes {
            given,
            ..Changes::default()
        },
    );
}

#[test]
fn the_newest_acknowledged_arguments_count_and_each_once() {
    let with = |change: fn(&mut Told, &mut Evidence)| {
        found(|told, evidence| {
            changed(told, evidence);
            change(told, evidence);
        })
    };
    assert_eq!(with(|_, _| ()), (0, 0));
    let given = |told: &mut Told, bound| told.changes.get_mut(&1).unwrap().given = vec![Ask::Sum(bound)];
    let open = |told: &mut Told, change| told.changes.get_mut(&1).unwrap().open = Some(change);
    assert_eq!(
        with(|told, _| {
            told.changes.get_mut(&1).unwrap().open = Some(Change::To(Ask::Sum(9)));
        }),
        (0, 0),
        "what was not answered need not have taken effect"
    );
    assert_eq!(
        found(|told, evidence| {
            changed(told, evidence);
            given(told, 7);
            open(told, Change::To(Ask::Sum(4)));
        }),
        (0, 0),
        "but may have"
    );
    assert_eq!(
        found(|told, evidence| {
            changed(told, evidence);
            given(told, 7);
            open(told, Change::To(Ask::Sum(5)));
        }),
        (1, 0),
        "and nothing else"
    );
    assert_eq!(
        with(|told, _| told.changes.get_mut(&1).unwrap().given.push(Ask::Sum(5))),
        (1, 0),
        "lost"
    );
    assert_eq!(
        with(|told, _| told.changes.get_mut(&1).unwrap().given.reverse()),
        (1, 0),
        "order"
    );
    assert_eq!(
        with(|told, _| told.changes.get_mut(&1).unwrap().given.truncate(1)),
        (0, 1),
        "twice"
    );
    assert_eq!(with(|told, _| told.changes.clear()), (0, 1), "nobody's");
    assert_eq!(
        with(|_, evidence| (evidence.rows[0].ask, evidence.rows[0].result) = (Ask::Sum(7), Some(28))),
        (1, 1)
    );
}

#[test]
fn what_was_deleted_is_gone_and_nothing_else() {
    let deleted = |told: &mut Told| {
        drop(told.changes.insert(
            1,
            Changes {
                deleted: true,
                ..Changes::default()
            },
        ))
    };
    let cancelled = |evidence: &mut Evidence| {
        let row = &mut evidence.rows[0];
        (row.deleted, row.status, row.result) = (true, "cancelled".into(), None);
        row.history = vec![(1, "created".into()), (1, "cancelled".into())];
    };
    assert_eq!(
        found(|told, evidence| {
            deleted(told);
            cancelled(evidence);
        }),
        (0, 0)
    );
    assert_eq!(
        found(|told, evidence| {
            deleted(told);
            evidence.rows.remove(0);
        }),
        (0, 0),
        "where it cannot be seen"
    );
    assert_eq!(found(|told, _| deleted(told)), (1, 0), "it is there");
    assert_eq!(
        found(|_, evidence| cancelled(evidence)),
        (1, 0),
        "nobody asked for that"
    );
    assert_eq!(
        found(|told, evidence| {
            cancelled(evidence);
            let open = Some(Change::Gone);
            told.changes.insert(
                1,
                Changes {
                    open,
                    ..Changes::default()
                },
            );
        }),
        (0, 0),
        "it was asked for, and not answered"
    );
    assert_eq!(
        found(|told, evidence| {
            deleted(told);
            cancelled(evidence);
            evidence.rows[0].history.push((1, "start".into()));
        }),
        (0, 1),
        "it goes on after its end"
    );
}

#[test]
fn what_was_cancelled_is_cancelled_once_and_nothing_else() {
    let asked = |told: &mut Told, cancels, open| {
        let changes = Changes {
            cancels,
            open,
            ..Changes::default()
        };
        told.changes.insert(1, changes);
    };
    let cancelled = |evidence: &mut Evidence| {
        let row = &mut evidence.rows[0];
        (row.status, row.result) = ("cancelled".into(), None);
        row.history = vec![(1, "created".into()), (1, "cancelled".into())];
    };
    let judged = |cancels, open, is_cancelled: bool| {
        found(|told, evidence| {
            asked(told, cancels, open);
            if is_cancelled {
                cancelled(evidence);
            }
        })
    };
    assert_eq!(judged(1, None, true), (0, 0));
    assert_eq!(judged(1, None, false), (1, 0), "it ran on");
    assert_eq!(judged(0, None, true), (0, 1), "nobody asked for that");
    assert_eq!(
        judged(0, Some(Change::Cancel), true),
        (0, 0),
        "asked for, and not answered"
    );
    assert_eq!(judged(0, Some(Change::Cancel), false), (0, 0));
    assert_eq!(judged(2, None, true), (1, 0));
}

#[test]
fn a_demand_is_there_under_its_code() {
    let demanded = |told: &mut Told, code: &str, bound| {
        told.acknowledged[1] = Acknowledged {
            identity: Identity::Code(code.to_owned()),
            ask: Some(Ask::Sum(bound)),
            at: 1.0,
        };
    };
    assert_eq!(found(|told, _| demanded(told, "consumer-0000000002", 4)), (0, 0));
    assert_eq!(
        found(|told, _| demanded(told, "consumer-0000000002", 5)),
        (1, 0),
        "another bound"
    );
    assert_eq!(
        found(|told, _| demanded(told, "consumer-000000000X", 4)),
        (1, 1),
        "another code"
    );
}

#[test]
fn what_nobody_asked_for_is_duplicated() {
    let another = || row(4, Ask::Sum(50), "created start stop result=1275");
    assert_eq!(found(|_, evidence| evidence.rows.push(another())), (0, 1));
    assert_eq!(
        found(|told, evidence| {
            evidence.rows.push(another());
            told.indeterminate.push(None);
        }),
        (0, 0),
        "a request without an answer may have taken effect"
    );
    assert_eq!(
        found(|told, evidence| {
            evidence.rows.push(another());
            told.indeterminate.push(Some(Ask::Sum(51)));
        }),
        (0, 1),
        "but not for another bound"
    );
    assert_eq!(found(|_, evidence| evidence.orphans = 1), (0, 1));
    assert_eq!(found(|told, _| told.twice.push("a key".into())), (0, 1));
}

#[test]
fn what_is_there_twice_is_duplicated() {
    let again = |evidence: &mut Evidence, index: usize| evidence.letters.push(evidence.letters[index].clone());
    assert_eq!(found(|_, evidence| again(evidence, 0)), (0, 1));
    assert_eq!(found(|_, evidence| again(evidence, 1)), (0, 1));
    assert_eq!(
        found(|_, evidence| {
            let mut copy = evidence.rows[1].clone();
            copy.id = 4;
            evidence.rows.push(copy);
        }),
        (0, 1)
    );
    let elsewhere = |evidence: &mut Evidence| evidence.letters[1].message_id = Some("another".into());
    assert_eq!(
        found(|_, evidence| elsewhere(evidence)),
        (1, 1),
        "a dead letter of nothing that was sent"
    );
}

#[test]
fn more_runs_than_redrives_are_duplicated() {
    let again = |_: &mut Told, evidence: &mut Evidence| {
        let row = &mut evidence.rows[2];
        row.generation = 2;
        row.history
            .extend(["redriven", "start", "error"].map(|word| (2, word.to_owned())));
        evidence.letters[0].generation = Some(2);
    };
    assert_eq!(found(again), (0, 1));
    assert_eq!(
        found(|told, evidence| {
            again(told, evidence);
            told.redriven = 1;
        }),
        (0, 0)
    );
    assert_eq!(
        found(|told, evidence| {
            again(told, evidence);
            told.redriven = 1;
            evidence.letters[0].generation = Some(1);
        }),
        (0, 1),
        "the letter of the generation before"
    );
}
