//! The same for what works of several kinds have beside sums: a kind, and calls of their handlers.

use super::*;

#[test]
fn a_kind_has_messages_and_letters_of_its_own() {
    assert_eq!(
        found(|_, evidence| drop(evidence.rows.remove(3))),
        (1, 1),
        "the sum of this message is no work of the other kind, whose call is left"
    );
    assert_eq!(
        found(|told, _| drop(told.acknowledged.remove(3))),
        (0, 1),
        "nobody asked for a work of this kind"
    );
    assert_eq!(found(|told, _| told.acknowledged[3].ask = Some(Ask::Slow(71))), (1, 0));
    assert_eq!(
        found(|_, evidence| evidence.letters[2].kind = "chaos.slow".into()),
        (0, 1),
        "a letter of another kind"
    );
    assert_eq!(found(|_, evidence| drop(evidence.letters.remove(2))), (1, 0));
    assert_eq!(
        found(|_, evidence| evidence.rows[4].result = Some(6)),
        (1, 0),
        "another result"
    );
    assert_eq!(
        found(|told, _| told.rolled_back.push("app-0000000013".into())),
        (0, 1),
        "it was rolled back"
    );
}

#[test]
fn a_handler_is_called_once_for_each_run_that_was_claimed_and_for_no_other() {
    let again = |evidence: &mut Evidence, index: usize| {
        let call = evidence.calls[index].clone();
        evidence.calls.push(call);
        evidence.calls.len() - 1
    };
    assert_eq!(
        found(|_, evidence| {
            again(evidence, 0);
        }),
        (0, 1),
        "twice for one run"
    );
    assert_eq!(
        found(|_, evidence| {
            let last = again(evidence, 0);
            evidence.calls[last].attempt = 2;
        }),
        (0, 1),
        "an attempt that was never claimed"
    );
    assert_eq!(
        found(|_, evidence| {
            let last = again(evidence, 0);
            evidence.calls[last].generation = 2;
        }),
        (0, 1),
        "a generation that was never claimed"
    );
    assert_eq!(
        found(|_, evidence| evidence.calls[0].kind = "chaos.moody".into()),
        (0, 1),
        "the handler of another kind"
    );
    assert_eq!(
        found(|_, evidence| {
            let sum = evidence.rows[0].work_code.clone();
            let last = again(evidence, 0);
            evidence.calls[last].work_code = sum;
        }),
        (0, 2),
        "a sum, by another kind's handler and as another message"
    );
    assert_eq!(
        found(|_, evidence| evidence.calls[0].message_id = "n".into()),
        (0, 1),
        "another message"
    );
    assert_eq!(
        found(|_, evidence| drop(evidence.calls.remove(0))),
        (1, 0),
        "it is done, and no handler was called"
    );
    assert_eq!(
        found(|_, evidence| drop(evidence.calls.remove(1))),
        (0, 0),
        "a claim whose worker ended before the call"
    );
    assert_eq!(
        found(|_, evidence| evidence.calls[0].work_code = "api-nobodys000".into()),
        (1, 1),
        "a work that is not there"
    );
    assert_eq!(
        found(|_, evidence| {
            evidence.shows_deleted = false;
            let last = again(evidence, 0);
            evidence.calls[last].work_code = "api-nobodys000".into();
        }),
        (0, 0),
        "where deleted works cannot be seen"
    );
    assert_eq!(
        found(|_, evidence| drop(evidence.rows[4].history.drain(1..3))),
        (1, 1),
        "what fails twice is done by its second attempt, and was called for a third"
    );
}

/// Work 11 was given other arguments before anybody claimed its first run.
#[test]
fn a_run_that_was_superseded_before_its_claim_is_not_called() {
    let given = |told: &mut Told, evidence: &mut Evidence| {
        let row = &mut evidence.rows[3];
        (row.ask, row.result, row.generation) = (Ask::Slow(80), Some(80), 2);
        row.work_code = "api-0000000011".into();
        let second = [r#"updated={"millis":80}"#, "start", "stop", "result=80"];
        row.history = vec![(1, "created".into())];
        row.history.extend(second.map(|word| (2, word.to_owned())));
        evidence.calls[0].work_code.clone_from(&row.work_code);
        let changes = Changes {
            given: vec![Ask::Slow(80)],
            ..Changes::default()
        };
        told.changes.insert(11, changes);
    };
    assert_eq!(
        found(|told, evidence| {
            given(told, evidence);
            evidence.calls[0].generation = 2;
        }),
        (0, 0)
    );
    assert_eq!(
        found(|told, evidence| {
            given(told, evidence);
            let first = evidence.calls[0].clone();
            evidence.calls[0].generation = 2;
            evidence.calls.push(first);
        }),
        (0, 1),
        "called for the run before"
    );
}
