//! What the cases have in common: works and demands to begin with, and what to ask about them. Other tests of stores
//! use the public ones.

use std::time::Duration;

use pp_lib::domain::{AddUpTo, DeadLetter, Json, KindName, Origin, Run, Variable, Work, WorkCode, WorkId};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{AnyStore, Claim, Completed, Completion, Guard, LetterFilter, NewWork, Outcome, Search};

pub(super) const HOLD: Duration = Duration::from_secs(30);
pub(super) const LEASE: Duration = Duration::from_secs(30);

pub(super) fn bound(number: i64) -> AddUpTo {
    AddUpTo::try_from(number).unwrap()
}

/// A new work with this bound.
pub fn new_work(origin: Origin, number: i64) -> NewWork {
    NewWork {
        message_id: new_message_id(),
        work_code: new_work_code(origin),
        kind: KindName::default(),
        args: bound(number).args(),
        run_at: None,
        unique: None,
        notify: None,
    }
}

/// New works of the API with these bounds.
pub fn new_works(numbers: impl IntoIterator<Item = i64>) -> Vec<NewWork> {
    let new = |number| new_work(Origin::Api, number);
    numbers.into_iter().map(new).collect()
}

pub(super) async fn created(store: &AnyStore, numbers: &[i64]) -> Vec<Work> {
    store
        .create(&new_works(numbers.iter().copied()))
        .await
        .unwrap()
        .into_iter()
        .map(|created| created.unwrap().work)
        .collect()
}

pub(super) async fn history(store: &AnyStore, id: WorkId) -> Vec<(Variable, String)> {
    let events = store.events(id).await.unwrap().unwrap();
    assert!(
        events.is_sorted_by_key(|event| event.id),
        "events in the order of their ids"
    );
    events.into_iter().map(|event| (event.variable, event.value)).collect()
}

pub(super) fn names(events: &[(Variable, String)]) -> Vec<&'static str> {
    events.iter().map(|(variable, _)| variable.as_str()).collect()
}

pub(super) async fn work_of(store: &AnyStore, id: WorkId) -> Work {
    store.by_ids(&[id]).await.unwrap().pop().unwrap()
}

pub(super) async fn claim(store: &AnyStore) -> Vec<Claim> {
    store.claim(&[], None, HOLD, 1000).await.unwrap()
}

/// The completion of a claimed work.
pub fn completion(claim: &Claim, outcome: Outcome) -> Completion {
    Completion {
        message_id: claim.message_id.clone(),
        work_code: claim.work_code.clone(),
        args: Some(claim.args.clone()),
        guard: Guard::Pending(claim.run),
        outcome,
    }
}

pub(super) fn running(claim: &Claim, outcome: Outcome) -> Completion {
    let guard = Guard::Running(claim.run);
    Completion {
        guard,
        ..completion(claim, outcome)
    }
}

/// The completion of a demand without a row.
pub fn without_row(number: i64, outcome: Outcome) -> Completion {
    Completion {
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Consumer),
        args: Some(bound(number).args()),
        guard: Guard::NoRow,
        outcome,
    }
}

pub(super) fn done(number: i64) -> Outcome {
    Outcome::Done {
        result: Json::from(bound(number).sum()),
    }
}

pub(super) fn retry(delay: Duration) -> Outcome {
    Outcome::Retry {
        reason: "not now".to_owned(),
        delay,
    }
}

pub(super) fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: reason.to_owned(),
    }
}

pub(super) fn pending_guard(generation: i32, attempt: i32) -> Guard {
    Guard::Pending(Run { generation, attempt })
}

pub(super) fn running_guard(generation: i32, attempt: i32) -> Guard {
    Guard::Running(Run { generation, attempt })
}

/// Unix seconds by the clock that all share here.
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

/// All dead letters, newest first.
pub(super) async fn letters(store: &AnyStore) -> Vec<DeadLetter> {
    store.dead_letters(&LetterFilter::ALL, None, 1000).await.unwrap()
}

/// True if a completion took effect.
pub(super) fn applied(completed: &Completed) -> bool {
    matches!(completed, Completed::Applied | Completed::Started(_))
}

pub(super) async fn complete_one(store: &AnyStore, completion: Completion) -> Completed {
    store
        .complete(KindName::add_up_to(), &[completion])
        .await
        .unwrap()
        .remove(0)
}

pub(super) async fn by_code(store: &AnyStore, code: &WorkCode) -> Option<Work> {
    store.by_codes(std::slice::from_ref(code)).await.unwrap().pop()
}

/// A search for all works.
pub fn everything() -> Search {
    Search {
        work_code: None,
        kind: None,
        status: None,
        since: None,
        before: None,
        limit: 1000,
    }
}

pub(super) async fn ids(store: &AnyStore, search: Search) -> Vec<i64> {
    store
        .search(&search)
        .await
        .unwrap()
        .into_iter()
        .map(|work| work.id.0)
        .collect()
}
