//! The feed of all events: its order, its pages, its places, and what it tells of each work.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::fixtures::{
    HOLD, LEASE, bound, claim, complete_one, completion, created, done, failed, retry, running, without_row,
};
use pp_lib::domain::{AddUpTo, KindName, Position, Principal, Snapshot, Status, WorkId};
use pp_lib::store::{AnyStore, Change, Outcome, Page, Selection};

const AT_ONCE: Duration = Duration::ZERO;

/// The next page of what is behind a place that is of this feed.
async fn page(store: &AnyStore, after: &Position, limit: u16) -> Page<Change> {
    store.changes(after, limit).await.unwrap().unwrap()
}

/// Everything behind a place.
async fn rest(store: &AnyStore, mut after: Position, limit: u16) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let page = page(store, &after, limit).await;
        after = page.position;
        changes.extend(page.items);
        if page.complete {
            return changes;
        }
    }
}

fn ids(changes: &[Change]) -> Vec<i64> {
    changes.iter().map(|change| change.event.id).collect()
}

/// Reads each event once, and those of each work in the order of its history.
async fn are_all_once_and_in_order(store: &AnyStore, changes: Vec<Change>) {
    let mut histories: BTreeMap<WorkId, Vec<_>> = BTreeMap::new();
    for change in changes {
        histories.entry(change.work_id).or_default().push(change.event);
    }
    for (work, told) in histories {
        assert_eq!(store.events(work).await.unwrap().unwrap(), told);
    }
}

fn told(changes: &[Change], work: WorkId) -> Vec<(&'static str, Option<Status>)> {
    let of_work = changes.iter().filter(|change| change.work_id == work);
    of_work
        .map(|change| (change.event.variable.as_str(), change.status))
        .collect()
}

pub async fn the_feed_tells_what_became_of_each_work(store: AnyStore) {
    use Status::{Cancelled, Done, Failed, Pending, Running};
    let begin = store.head().await.unwrap();
    let works = created(&store, &[1, 2, 3, 4]).await;
    let mut claims = claim(&store).await;
    claims.sort_by_key(|claim| claim.id);
    let batch = [
        completion(&claims[0], Outcome::running(LEASE)),
        completion(&claims[1], failed("never")),
        completion(&claims[2], Outcome::running(AT_ONCE)),
        completion(&claims[3], retry(LEASE)),
        without_row(5, done(5)),
        without_row(6, done(6)),
    ];
    store.complete(KindName::add_up_to(), &batch[..5]).await.unwrap();
    complete_one(&store, batch[5].clone()).await;
    complete_one(&store, running(&claims[0], done(1))).await;
    eventually!(store.rescue(5, 10).await.unwrap() == 1);
    assert_eq!(store.claim(&[], None, HOLD, 10).await.unwrap().len(), 1);
    assert_eq!(store.lose_sent(0).await.unwrap(), 1);
    store.redrive(&Principal::Open, &Selection::ALL).await.unwrap();
    store
        .update(&Principal::Open, works[1].id, &bound(9).args(), None, AT_ONCE)
        .await
        .unwrap();
    store.delete(&Principal::Open, works[0].id, None).await.unwrap();
    store.delete(&Principal::Open, works[1].id, None).await.unwrap();

    let changes = rest(&store, begin, 1000).await;
    let some =
        |told: &[(&'static str, Status)]| -> Vec<_> { told.iter().map(|(what, is)| (*what, Some(*is))).collect() };
    let finished = some(&[
        ("work/created", Pending),
        ("compute/start", Running),
        ("compute/stop", Done),
        ("compute/result", Done),
        ("work/cancelled", Done),
    ]);
    assert_eq!(
        told(&changes, works[0].id),
        finished,
        "the end of a finished work is told"
    );
    let given_up = some(&[
        ("work/created", Pending),
        ("compute/start", Failed),
        ("compute/error", Failed),
        ("work/redriven", Pending),
        ("work/updated", Pending),
        ("work/cancelled", Cancelled),
    ]);
    assert_eq!(told(&changes, works[1].id), given_up);
    let lost = some(&[
        ("work/created", Pending),
        ("compute/start", Running),
        ("compute/error", Pending),
        ("compute/start", Failed),
        ("compute/error", Failed),
        ("work/redriven", Pending),
    ]);
    assert_eq!(told(&changes, works[2].id), lost);
    let retried = some(&[
        ("work/created", Pending),
        ("compute/start", Pending),
        ("compute/error", Pending),
    ]);
    assert_eq!(told(&changes, works[3].id), retried);
    for completion in &batch[4..] {
        let mine = changes
            .iter()
            .filter(|change| change.event.work_code == completion.work_code);
        let computed: Vec<_> = mine
            .map(|change| (change.event.variable.as_str(), change.status))
            .collect();
        let computed_once = some(&[
            ("compute/start", Done),
            ("compute/stop", Done),
            ("compute/result", Done),
        ]);
        assert_eq!(computed, computed_once);
    }
    let history = store.events(works[2].id).await.unwrap().unwrap();
    let of_work = changes.into_iter().filter(|change| change.work_id == works[2].id);
    assert_eq!(of_work.map(|change| change.event).collect::<Vec<_>>(), history);
}

pub async fn pages_of_the_feed_follow_each_other(store: AnyStore) {
    let begin = store.head().await.unwrap();
    assert!(rest(&store, begin.clone(), 10).await.is_empty());
    created(&store, &[1, 2, 3]).await;
    let all = ids(&rest(&store, begin.clone(), 1000).await);
    assert_eq!(all.len(), 3);
    let first = page(&store, &begin, 2).await;
    assert_eq!((ids(&first.items).as_slice(), first.complete), (&all[..2], false));
    assert_eq!(first.position, first.items[1].position);
    assert_eq!(ids(&rest(&store, first.position, 2).await), all[2..]);
    let head = store.head().await.unwrap();
    assert!(head.includes(&begin) && !begin.includes(&head));
    assert!(rest(&store, head, 2).await.is_empty());
}

/// As a client of a stream does that was cut: its place is a text.
pub async fn the_feed_goes_on_from_the_text_of_any_place(store: AnyStore) {
    let begin = store.head().await.unwrap();
    created(&store, &[1, 2, 3, 4, 5]).await;
    let all = rest(&store, begin, 3).await;
    assert_eq!(all.len(), 5);
    for (number, change) in all.iter().enumerate() {
        let text = change.position.to_string();
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
        let place = text.parse().unwrap();
        assert_eq!(ids(&rest(&store, place, 2).await), ids(&all[number + 1..]), "{text}");
    }
}

pub async fn a_reader_with_a_goal_gets_there_and_no_further(store: AnyStore) {
    let begin = store.head().await.unwrap();
    created(&store, &[1, 2, 3]).await;
    let goal = store.head().await.unwrap();
    let later = created(&store, &[4, 5]).await;
    let mut after = begin;
    let mut seen = Vec::new();
    while !after.includes(&goal) {
        let page = page(&store, &after.towards(&goal), 2).await;
        assert!(!page.complete, "there is more behind the goal");
        after = page.position;
        seen.extend(page.items);
    }
    assert_eq!((seen.len(), &after), (3, &goal));
    let rest = rest(&store, after, 10).await;
    let works: Vec<WorkId> = rest.iter().map(|change| change.work_id).collect();
    assert_eq!(works, [later[0].id, later[1].id]);
}

pub async fn a_place_that_is_not_of_this_feed_is_not_continued(store: AnyStore) {
    created(&store, &[1, 2]).await;
    let head = store.head().await.unwrap();
    let ahead = |by: i64| {
        Arc::new(Snapshot {
            next: head.seen().next.saturating_add(by),
            ..Snapshot::clone(head.seen())
        })
    };
    let (epoch, seen) = (head.epoch(), Arc::clone(head.seen()));
    for elsewhere in [
        Position::at(epoch + 1, Arc::clone(&seen)),
        Position::at(epoch - 1, Arc::clone(&seen)),
        Position::beginning(epoch - 1),
        Position::at(epoch, ahead(1000)),
        Position::at(epoch, ahead(i64::MAX)),
        Position::between(epoch, seen, ahead(1000), 1),
        // Of a version before.
        format!("{epoch}-0-2").parse().unwrap(),
    ] {
        assert_eq!(store.changes(&elsewhere, 10).await.unwrap(), None, "{elsewhere}");
        assert_eq!(store.touched(&elsewhere, 10).await.unwrap(), None, "{elsewhere}");
    }
    let begin = Position::beginning(epoch);
    assert_eq!(
        rest(&store, begin, 10).await.len(),
        2,
        "the beginning is of any feed that has not forgotten it"
    );
}

pub async fn the_works_that_changes_touch_come_once_each(store: AnyStore) {
    let begin = store.head().await.unwrap();
    let works = created(&store, &[1, 2, 3]).await;
    let claims = claim(&store).await;
    let outcomes = claims
        .iter()
        .map(|claim| completion(claim, done(AddUpTo::of_args(&claim.args).unwrap().get().into())));
    store
        .complete(KindName::add_up_to(), &outcomes.collect::<Vec<_>>())
        .await
        .unwrap();
    store.delete(&Principal::Open, works[1].id, None).await.unwrap();
    let mut after = begin;
    loop {
        let changes = page(&store, &after, 5).await;
        let touched = store.touched(&after, 5).await.unwrap().unwrap();
        let expected: BTreeSet<WorkId> = changes.items.iter().map(|change| change.work_id).collect();
        assert_eq!(touched.items.len(), expected.len());
        assert_eq!(touched.items.into_iter().collect::<BTreeSet<_>>(), expected);
        assert_eq!(touched.complete, changes.complete);
        after = changes.position;
        if changes.complete {
            break;
        }
    }
}

pub async fn a_reader_beside_many_writers_misses_nothing_and_sees_nothing_twice(store: AnyStore) {
    const WRITERS: i64 = 8;
    const BATCHES: i64 = 12;
    let begin = store.head().await.unwrap();
    let writing = (0..WRITERS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 1..=BATCHES {
                created(&store, &[number, number]).await;
                store
                    .complete(
                        KindName::add_up_to(),
                        &[without_row(number, done(number)), without_row(number, failed("no"))],
                    )
                    .await
                    .unwrap();
            }
        })
    });
    let writing: Vec<_> = writing.collect();
    let mut changes = Vec::new();
    let mut after = begin;
    while !writing.iter().all(tokio::task::JoinHandle::is_finished) {
        let page = page(&store, &after, 7).await;
        assert!(page.items.len() <= 7);
        after = page.position;
        changes.extend(page.items);
    }
    for one in writing {
        one.await.unwrap();
    }
    changes.extend(rest(&store, after, 7).await);
    // Two created, two started, one stopped with its result, one error.
    assert_eq!(changes.len() as i64, WRITERS * BATCHES * 7);
    assert!(
        ids(&changes).iter().collect::<BTreeSet<_>>().len() == changes.len(),
        "each once"
    );
    are_all_once_and_in_order(&store, changes).await;
}
