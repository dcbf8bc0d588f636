//! Works of several kinds beside each other: what identifies them, and the JSON that is kept as it came.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::HashSet;
use std::time::Duration;

use super::fixtures::{
    HOLD, LEASE, applied, bound, by_code, claim, completion, everything, failed, history, ids, letters, pending_guard,
    running, running_guard, work_of,
};
use bytes::Bytes;
use pp_lib::domain::{Json, KindName, MessageId, Origin, Principal, Run, Status, Variable, Work, WorkCodePrefix};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{
    AnyStore, Changed, Completed, Completion, DeadMessage, Guard, NewWork, Outcome, RunningAttempt, Search, Selection,
};

const AT_ONCE: Duration = Duration::ZERO;

pub(super) fn kind(name: &str) -> KindName {
    name.parse().unwrap()
}

/// Two kinds and the built-in one.
pub(super) fn kinds() -> [KindName; 3] {
    [kind("mail.welcome"), kind("report"), KindName::default()]
}

pub(super) fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), Json::USUAL_LIMIT).unwrap()
}

/// A new work of the API with these arguments.
pub(super) fn wanted(kind: &KindName, args: &Json) -> NewWork {
    NewWork {
        kind: kind.clone(),
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        args: args.clone(),
        run_at: None,
        unique: None,
        notify: None,
    }
}

/// Creates works of declared kinds.
pub(super) async fn create(store: &AnyStore, new: &[NewWork]) -> Vec<Work> {
    for kind in new.iter().map(|work| &work.kind).collect::<HashSet<_>>() {
        store
            .declare(&Principal::Open, kind, &Json::accepted("{}"))
            .await
            .unwrap();
    }
    let works = store.create(new).await.unwrap();
    works.into_iter().map(|created| created.unwrap().work).collect()
}

/// Works of this kind with small arguments.
pub(super) async fn some(store: &AnyStore, kind: &KindName, count: usize) -> Vec<Work> {
    let new: Vec<NewWork> = (0..count).map(|_| wanted(kind, &bound(3).args())).collect();
    create(store, &new).await
}

pub(super) fn demand(kind_of: &NewWork, guard: Guard, outcome: Outcome) -> Completion {
    Completion {
        message_id: kind_of.message_id.clone(),
        work_code: kind_of.work_code.clone(),
        args: Some(kind_of.args.clone()),
        guard,
        outcome,
    }
}

pub(super) fn done(result: &Json) -> Outcome {
    Outcome::Done { result: result.clone() }
}

pub(super) async fn complete(store: &AnyStore, kind: &KindName, completion: Completion) -> Completed {
    store.complete(kind, &[completion]).await.unwrap().remove(0)
}

fn of_kind(kind: &KindName) -> Search {
    Search {
        kind: Some(kind.clone()),
        ..everything()
    }
}

pub async fn two_kinds_use_one_message_id_for_two_works(store: AnyStore) {
    let message_id = new_message_id();
    let new = kinds().map(|kind| NewWork {
        message_id: message_id.clone(),
        ..wanted(&kind, &bound(3).args())
    });
    // Two of them in one call, the third one later.
    let mut works = create(&store, &new[..2]).await;
    works.extend(create(&store, &new[2..]).await);
    let ids: HashSet<i64> = works.iter().map(|work| work.id.0).collect();
    assert_eq!(ids.len(), 3);
    for (new, work) in new.iter().zip(&works) {
        assert_eq!((&work.kind, &work.work_code), (&new.kind, &new.work_code));
        assert_eq!(
            create(&store, std::slice::from_ref(new)).await,
            std::slice::from_ref(work)
        );
    }
    assert_eq!(create(&store, &new).await, works, "each its own, in their order");
    let all = store.create_all(&new).await.unwrap().unwrap();
    assert_eq!(all.into_iter().map(|created| created.work).collect::<Vec<_>>(), works);
    for work in &works {
        assert_eq!(history(&store, work.id).await.len(), 1, "created once");
    }
    let claims = claim(&store).await;
    let claimed: HashSet<(&KindName, &MessageId)> = claims.iter().map(|one| (&one.kind, &one.message_id)).collect();
    assert_eq!((claims.len(), claimed.len()), (3, 3));
}

pub async fn a_completion_leaves_the_other_kinds_row_alone(store: AnyStore) {
    let [one, two, _] = kinds();
    let first = wanted(&one, &json("[1]"));
    let second = NewWork {
        kind: two.clone(),
        work_code: new_work_code(Origin::Consumer),
        ..first.clone()
    };
    let work = create(&store, std::slice::from_ref(&first)).await.remove(0);

    // A row of the first kind is none of the second: an outcome inserts it.
    for guard in [pending_guard(1, 1), running_guard(1, 1)] {
        let missing = demand(&second, guard, done(&json("2")));
        assert_eq!(complete(&store, &two, missing).await, Completed::Superseded);
    }
    let inserted = demand(&second, Guard::NoRow, done(&json("2")));
    assert_eq!(complete(&store, &two, inserted.clone()).await, Completed::Applied);
    assert_eq!(complete(&store, &two, inserted).await, Completed::Superseded);
    assert_eq!(work_of(&store, work.id).await, work);
    let other = by_code(&store, &second.work_code).await.unwrap();
    assert_eq!(
        (&other.kind, other.status, &other.result),
        (&two, Status::Done, &Some(json("2")))
    );

    // Without a row of its kind, but with the code of the other kind's row.
    let third = NewWork {
        kind: kind("third"),
        ..first.clone()
    };
    let taken = demand(&third, Guard::NoRow, done(&json("3")));
    assert_eq!(complete(&store, &third.kind, taken).await, Completed::CodeTaken);
    assert_eq!(store.create(std::slice::from_ref(&third)).await.unwrap(), [None]);

    // The same run of both: what holds one of them does not hold the other.
    let third = NewWork {
        work_code: new_work_code(Origin::Api),
        ..third
    };
    let beside = create(&store, std::slice::from_ref(&third)).await.remove(0);
    let started = demand(&first, pending_guard(1, 1), Outcome::running(LEASE));
    assert_eq!(
        complete(&store, &one, started).await,
        Completed::Started(first.args.clone())
    );
    let attempt = RunningAttempt {
        message_id: first.message_id.clone(),
        run: Run::FIRST,
    };
    let attempts = std::slice::from_ref(&attempt);
    for other in [&third.kind, &two, &kind("unheard_of")] {
        assert_eq!(store.extend_leases(other, attempts, LEASE).await.unwrap(), [false]);
        assert_eq!(store.hand_back(other, attempts).await.unwrap(), 0);
        let late = demand(&first, running_guard(1, 1), done(&json("0")));
        assert_eq!(complete(&store, other, late).await, Completed::Superseded);
    }
    assert_eq!(work_of(&store, beside.id).await, beside);
    assert_eq!(work_of(&store, other.id).await, other);
    assert_eq!(store.extend_leases(&one, attempts, LEASE).await.unwrap(), [true]);
    let ended = demand(&first, running_guard(1, 1), done(&json("1")));
    assert_eq!(complete(&store, &one, ended).await, Completed::Applied);
    assert_eq!(work_of(&store, work.id).await.result, Some(json("1")));
    assert_eq!(work_of(&store, beside.id).await, beside);
    assert_eq!(history(&store, beside.id).await.len(), 1);
}

pub async fn dead_messages_of_two_kinds_are_two_letters(store: AnyStore) {
    let [one, two, _] = kinds();
    let message_id = new_message_id();
    let message = |kind: &KindName, body: &'static [u8]| DeadMessage {
        kind: kind.clone(),
        message_id: message_id.clone(),
        properties: None,
        body: Bytes::from_static(body),
        reason: format!("of {kind}"),
    };
    store
        .add_dead_letters(&[message(&one, b"1"), message(&two, b"2")])
        .await
        .unwrap();
    store.add_dead_letters(&[message(&two, b"two")]).await.unwrap();
    let mut kept = letters(&store).await;
    kept.sort_by(|left, right| left.kind.cmp(&right.kind));
    assert_eq!(kept.len(), 2);
    for (letter, (kind, body)) in kept.iter().zip([(&one, "1"), (&two, "two")]) {
        assert_eq!(
            (&letter.kind, letter.body.as_deref(), &letter.reason),
            (kind, Some(body), &format!("of {kind}"))
        );
        assert_eq!(letter.message_id.as_deref(), Some(message_id.as_str()));
    }
    // Letters of works have their kind as well, and are apart from those of messages.
    store
        .declare(&Principal::Open, &two, &Json::accepted("{}"))
        .await
        .unwrap();
    let dead = NewWork {
        message_id: message_id.clone(),
        ..wanted(&two, &json("[]"))
    };
    let failing = demand(&dead, Guard::NoRow, failed("never"));
    assert_eq!(complete(&store, &two, failing).await, Completed::Applied);
    let newest = letters(&store).await.remove(0);
    assert_eq!((&newest.kind, newest.work_id.is_some()), (&two, true));

    assert_eq!(
        store
            .redrive(&Principal::Open, &Selection::Ids(vec![kept[1].id]))
            .await
            .unwrap(),
        1
    );
    let redriven = store.claim_redriven(HOLD, 10).await.unwrap();
    let back = (&redriven[0].kind, &redriven[0].message_id, &redriven[0].body[..]);
    assert_eq!((redriven.len(), back), (1, (&two, &message_id, &b"two"[..])));
    store.end_redriven(&redriven).await.unwrap();
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 2);
    let redriven = store.claim_redriven(HOLD, 10).await.unwrap();
    assert_eq!((redriven.len(), &redriven[0].kind), (1, &one));
    let claims = claim(&store).await;
    assert_eq!((claims.len(), &claims[0].kind, claims[0].run.generation), (1, &two, 2));
}

/// Texts that some reader of JSON would change.
fn texts() -> Vec<Json> {
    let digits = "1234567890".repeat(4);
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let long = format!("\"{}\"", "ü".repeat((Json::USUAL_LIMIT - 2) / 2));
    assert_eq!(long.len(), Json::USUAL_LIMIT);
    let several = [
        "\"🧾 Ω \\ud83e\\uddfe \\u00e9 \\/\"",
        "1.10",
        "1e400",
        "-0",
        "[0.0000000000000000000000001,1E+2]",
        r#"{"b":1,"a":2}"#,
        "{ \"b\" : [ 1 ,\t2 ],\n \"\": { } }",
        "null",
        "\"null\"",
        "false",
        "\"it's \\\"quoted\\\", {1,2} and \\\\\"",
    ];
    let several = several.into_iter().map(json);
    several.chain([json(&digits), json(&deep), json(&long)]).collect()
}

pub async fn arguments_and_results_are_kept_byte_for_byte(store: AnyStore) {
    let [mail, ..] = kinds();
    let texts = texts();
    let new: Vec<NewWork> = texts.iter().map(|text| wanted(&mail, text)).collect();
    let works = create(&store, &new).await;
    let codes: Vec<_> = new.iter().map(|new| new.work_code.clone()).collect();
    let numbers: Vec<_> = works.iter().map(|work| work.id).collect();
    assert_all_kept(&works, &texts, None);
    assert_all_kept(&sorted(store.by_ids(&numbers).await.unwrap()), &texts, None);
    assert_all_kept(&sorted(store.by_codes(&codes).await.unwrap()), &texts, None);
    assert_all_kept(&sorted(store.search(&of_kind(&mail)).await.unwrap()), &texts, None);
    for (work, text) in works.iter().zip(&texts) {
        let created = (Variable::WorkCreated, text.to_string());
        assert_eq!(history(&store, work.id).await, [created]);
    }

    let mut claims = claim(&store).await;
    claims.sort_by_key(|claim| claim.id);
    for (claim, text) in claims.iter().zip(&texts) {
        assert_eq!((&claim.args, &claim.kind), (text, &mail));
        let started = completion(claim, Outcome::running(LEASE));
        assert_eq!(complete(&store, &mail, started).await, Completed::Started(text.clone()));
    }
    // The other way round, so that no result stands where an argument would.
    let results: Vec<&Json> = texts.iter().rev().collect();
    let ended: Vec<Completion> = (claims.iter().zip(&results))
        .map(|(claim, result)| running(claim, done(result)))
        .collect();
    assert!(store.complete(&mail, &ended).await.unwrap().iter().all(applied));
    let after = sorted(store.by_ids(&numbers).await.unwrap());
    assert_all_kept(&after, &texts, Some(&results));
    assert_all_kept(&sorted(store.by_codes(&codes).await.unwrap()), &texts, Some(&results));
    assert_all_kept(
        &sorted(store.search(&of_kind(&mail)).await.unwrap()),
        &texts,
        Some(&results),
    );
    for (work, result) in after.iter().zip(&results) {
        let events = history(&store, work.id).await;
        assert_eq!(events.last(), Some(&(Variable::ComputeResult, result.to_string())));
    }

    for (work, args) in after.iter().zip(&results) {
        let Changed::Applied(updated) = store
            .update(&Principal::Open, work.id, args, None, AT_ONCE)
            .await
            .unwrap()
        else {
            panic!("work {} is there", work.id);
        };
        assert_eq!((&updated.args, &updated.result), (*args, &None));
        assert_eq!(work_of(&store, work.id).await, updated);
        let events = history(&store, work.id).await;
        assert_eq!(events.last(), Some(&(Variable::WorkUpdated, args.to_string())));
    }
}

pub(super) fn sorted(mut works: Vec<Work>) -> Vec<Work> {
    works.sort_by_key(|work| work.id);
    works
}

fn assert_all_kept(works: &[Work], args: &[Json], results: Option<&[&Json]>) {
    assert_eq!(works.len(), args.len());
    for (index, work) in works.iter().enumerate() {
        assert_eq!(work.args, args[index]);
        assert_eq!(work.result.as_ref(), results.map(|results| results[index]));
    }
}

pub async fn outcomes_without_a_row_are_kept_byte_for_byte(store: AnyStore) {
    let [mail, ..] = kinds();
    let texts = texts();
    let new = |text: &Json| NewWork {
        work_code: new_work_code(Origin::Consumer),
        ..wanted(&mail, text)
    };
    // All computed, which is a statement of its own, and with one among them that is not.
    for mixed in [false, true] {
        let new: Vec<NewWork> = texts.iter().map(new).collect();
        let results = texts.iter().rev();
        let mut demands: Vec<Completion> = (new.iter().zip(results.clone()))
            .map(|(new, result)| demand(new, Guard::NoRow, done(result)))
            .collect();
        let last = new.len() - 1;
        if mixed {
            demands[last].outcome = Outcome::running(LEASE);
        }
        let completed = store.complete(&mail, &demands).await.unwrap();
        assert_eq!(
            completed[last],
            match mixed {
                true => Completed::Started(texts[last].clone()),
                false => Completed::Applied,
            }
        );
        for (index, (new, result)) in new.iter().zip(results).enumerate() {
            let work = by_code(&store, &new.work_code).await.unwrap();
            let is_running = mixed && index == last;
            let expected = (!is_running).then_some(result);
            assert_eq!((&work.args, work.result.as_ref()), (&texts[index], expected));
            let events = history(&store, work.id).await;
            let told = expected.map_or(Variable::ComputeStart, |_| Variable::ComputeResult);
            let value = expected.map(ToString::to_string).unwrap_or_default();
            assert_eq!(events.last(), Some(&(told, value)));
        }
    }
}

pub async fn a_result_may_be_null(store: AnyStore) {
    let [mail, ..] = kinds();
    let new = wanted(&mail, &json("null"));
    let work = create(&store, std::slice::from_ref(&new)).await.remove(0);
    let ended = demand(&new, pending_guard(1, 1), done(&json("null")));
    assert_eq!(complete(&store, &mail, ended).await, Completed::Applied);
    let after = work_of(&store, work.id).await;
    assert_eq!(
        (after.status, after.result.as_ref().map(Json::as_str)),
        (Status::Done, Some("null"))
    );
    let done_works = Search {
        status: Some((Status::Done, true)),
        ..everything()
    };
    assert_eq!(store.search(&done_works).await.unwrap(), [after]);
}

pub async fn a_search_for_a_kind_shows_no_other(store: AnyStore) {
    let [mail, report, sum] = kinds();
    let mut works = Vec::new();
    for _ in 0..4 {
        for kind in [&mail, &report, &sum] {
            works.extend(some(&store, kind, 1).await);
        }
    }
    let demands = [(&mail, 1), (&report, 2)].map(|(kind, _)| NewWork {
        work_code: new_work_code(Origin::Consumer),
        ..wanted(kind, &json("1"))
    });
    for new in &demands {
        complete(&store, &new.kind, demand(new, Guard::NoRow, done(&json("1")))).await;
        works.push(by_code(&store, &new.work_code).await.unwrap());
    }
    let cancelled = works.iter().filter(|work| work.kind != sum).take(3);
    for id in cancelled.map(|work| work.id).collect::<Vec<_>>() {
        assert!(matches!(
            store.cancel(&Principal::Open, id, None).await.unwrap(),
            Changed::Applied(_)
        ));
    }
    let mut works = store.search(&everything()).await.unwrap();
    assert_eq!(works.len(), 14);
    let gone = works.remove(works.iter().position(|work| work.kind == report).unwrap());
    store.delete(&Principal::Open, gone.id, None).await.unwrap();

    let prefixes = [
        "",
        "api-",
        "consumer-",
        works[1].work_code.as_str(),
        &works[2].work_code.as_str()[..6],
    ];
    let statuses = [None, Some((Status::Cancelled, true)), Some((Status::Done, false))];
    let befores = [None, Some(works[5].id), Some(works[9].id)];
    let unheard_of = kind("unheard_of");
    for kind in [&mail, &report, &sum, &unheard_of] {
        for prefix in prefixes {
            for status in statuses {
                for before in befores {
                    for since in [None, Some(works[0].created_on - 3600)] {
                        let shown = works.iter().filter(|work| {
                            work.kind == *kind
                                && work.work_code.as_str().starts_with(prefix)
                                && status.is_none_or(|(named, within)| (work.status == named) == within)
                                && before.is_none_or(|before| work.id < before)
                        });
                        let expected: Vec<i64> = shown.map(|work| work.id.0).collect();
                        let search = Search {
                            work_code: WorkCodePrefix::parse(prefix),
                            status,
                            before,
                            since,
                            ..of_kind(kind)
                        };
                        assert_eq!(ids(&store, search.clone()).await, expected, "{search:?}");
                        let page = Search { limit: 1, ..search };
                        assert_eq!(ids(&store, page).await, expected[..expected.len().min(1)]);
                    }
                }
            }
        }
    }
}
