//! Works whose arguments and results are as large as they may be: every read ends by bytes, and nothing is missed.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixtures::{HOLD, completion, everything};
use pp_lib::domain::{
    Event, Json, KindName, Origin, PAGE_BYTES, PART_BYTES, Principal, Work, WorkCode, WorkId, is_full, parts,
};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{AnyStore, CHANGES_BYTES, Completed, Completion, NewWork, Outcome, Search, may_have_more_events};

/// The usual limit of arguments and of a result.
const LARGE: usize = Json::USUAL_LIMIT;
const WORKS: usize = 300;

fn mail() -> KindName {
    "mail".parse().unwrap()
}

/// JSON of so many bytes.
pub(super) fn large(letter: char) -> Json {
    Json::accepted(format!("\"{}\"", letter.to_string().repeat(LARGE - 2)))
}

/// Works with large arguments and large results.
async fn filled(store: &AnyStore) -> Vec<Work> {
    let new = || NewWork {
        kind: mail(),
        message_id: new_message_id(),
        work_code: new_work_code(Origin::Api),
        args: large('a'),
        run_at: None,
        unique: None,
        notify: None,
    };
    let new: Vec<NewWork> = std::iter::repeat_with(new).take(WORKS).collect();
    let mut works: Vec<Work> = Vec::new();
    store
        .declare(&Principal::Open, &mail(), &Json::accepted("{}"))
        .await
        .unwrap();
    for part in parts(&new, WORKS, PART_BYTES, NewWork::bytes) {
        let created = store.create(part).await.unwrap().into_iter();
        works.extend(created.map(|created| created.unwrap().work));
    }
    let mut completed = 0;
    while completed < WORKS {
        let claims = store.claim(&[], None, HOLD, 1000).await.unwrap();
        let claimed: usize = claims.iter().map(|claim| claim.args.bytes()).sum();
        assert!((1..=PART_BYTES + LARGE).contains(&claimed), "{claimed}");
        let done = Outcome::Done { result: large('r') };
        let all: Vec<Completion> = claims.iter().map(|claim| completion(claim, done.clone())).collect();
        for part in parts(&all, all.len(), PART_BYTES, Completion::bytes) {
            let answers = store.complete(&mail(), part).await.unwrap();
            assert!(answers.iter().all(|answer| *answer == Completed::Applied));
        }
        completed += all.len();
    }
    works
}

fn bytes(works: &[Work]) -> usize {
    works.iter().map(Work::bytes).sum()
}

pub async fn reads_of_large_works_end_by_their_bytes(store: AnyStore) {
    let works = filled(&store).await;
    let ids: Vec<WorkId> = works.iter().map(|work| work.id).collect();

    let (mut search, mut found): (Search, Vec<WorkId>) = (everything(), Vec::new());
    loop {
        let page = store.search(&search).await.unwrap();
        assert!(bytes(&page) < PAGE_BYTES + 2 * LARGE);
        assert!(page.iter().all(|work| work.result == Some(large('r'))));
        found.extend(page.iter().map(|work| work.id));
        search.before = page.last().map(|work| work.id);
        if !search.may_have_more(&page) {
            break;
        }
    }
    let newest_first: Vec<WorkId> = ids.iter().rev().copied().collect();
    assert_eq!(found, newest_first);

    let unknown = WorkId(ids[WORKS - 1].0 + 1);
    let (mut left, mut rounds): (BTreeSet<WorkId>, usize) = (ids.iter().copied().chain([unknown]).collect(), 0);
    loop {
        let asked: Vec<WorkId> = left.iter().copied().collect();
        let some = store.by_ids(&asked).await.unwrap();
        assert!(bytes(&some) < PART_BYTES + 2 * LARGE);
        assert!(some.iter().all(|work| left.remove(&work.id)));
        rounds += 1;
        if !is_full(&some, PART_BYTES, Work::bytes) {
            break;
        }
    }
    assert_eq!((left, rounds), (BTreeSet::from([unknown]), 5));

    let mut left: BTreeSet<WorkCode> = works.iter().map(|work| work.work_code.clone()).collect();
    while !left.is_empty() {
        let asked: Vec<WorkCode> = left.iter().cloned().collect();
        let some = store.by_codes(&asked).await.unwrap();
        assert!((1..PART_BYTES + 2 * LARGE).contains(&bytes(&some)));
        assert!(some.iter().all(|work| left.remove(&work.work_code)));
    }
}

pub async fn pages_of_large_events_end_by_their_bytes(store: AnyStore) {
    let begin = store.head().await.unwrap();
    let works = filled(&store).await;
    let touched = store.touched(&begin, 1000).await.unwrap().unwrap();
    assert!(touched.items.len() > WORKS / 2, "it carries no values");

    let (mut after, mut changes) = (begin, Vec::new());
    loop {
        let page = store.changes(&after, 500).await.unwrap().unwrap();
        let bytes: usize = page.items.iter().map(|change| change.event.bytes()).sum();
        assert!(bytes < CHANGES_BYTES + LARGE, "{bytes}");
        after = page.position;
        changes.extend(page.items);
        if page.complete {
            break;
        }
    }
    let ids: BTreeSet<i64> = changes.iter().map(|change| change.event.id).collect();
    // Created, started, stopped, and the result.
    assert_eq!((changes.len(), ids.len()), (4 * WORKS, 4 * WORKS));

    let work = works[0].id;
    for _ in 0..40 {
        store
            .update(&Principal::Open, work, &large('u'), None, Duration::ZERO)
            .await
            .unwrap();
    }
    let (mut after, mut history) = (0, Vec::<Event>::new());
    loop {
        let page = store.events_after(work, after, 1000).await.unwrap().unwrap();
        let bytes: usize = page.iter().map(Event::bytes).sum();
        assert!(bytes < PAGE_BYTES + LARGE, "{bytes}");
        after = page.last().map_or(after, |event| event.id);
        let more = may_have_more_events(&page);
        history.extend(page);
        if !more {
            break;
        }
    }
    assert_eq!(history.len(), 4 + 40);
    assert!(history.is_sorted_by_key(|event| event.id));
}
