//! Works cancelled by their owners, and failed or cancelled ones started over.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::changes::{AT_ONCE, assert_all_late_is_superseded, works_in_every_state};
use super::fixtures::{
    HOLD, bound, by_code, claim, complete_one, completion, created, done, everything, failed, history, ids, letters,
    new_work, now, pending_guard, work_of,
};
use pp_lib::domain::{KindName, Origin, Principal, Status, Variable, Work, WorkId};
use pp_lib::store::{AnyStore, Changed, Completed, Completion, NewWork, RetentionTimes, Search, Selection};

async fn cancelled(store: &AnyStore, id: WorkId) -> Work {
    applied(store.cancel(&Principal::Open, id, None).await.unwrap())
}

async fn retried(store: &AnyStore, id: WorkId) -> Work {
    applied(store.retry(&Principal::Open, id, None).await.unwrap())
}

fn applied(changed: Changed<Work>) -> Work {
    match changed {
        Changed::Applied(work) => work,
        other => panic!("{other:?}"),
    }
}

async fn scheduled(store: &AnyStore, run_at: i64) -> Work {
    let scheduled = NewWork {
        run_at: Some(run_at),
        ..new_work(Origin::Api, 4)
    };
    store.create(&[scheduled]).await.unwrap().remove(0).unwrap().work
}

fn with_status(status: Status) -> Search {
    Search {
        status: Some((status, true)),
        ..everything()
    }
}

/// A cancelled, a failed and a done work.
async fn finished_works(store: &AnyStore) -> [Work; 3] {
    let works = created(store, &[1, 2, 3]).await;
    let mut claims = claim(store).await;
    claims.sort_by_key(|claim| claim.id);
    cancelled(store, works[0].id).await;
    complete_one(store, completion(&claims[1], failed("no luck"))).await;
    complete_one(store, completion(&claims[2], done(3))).await;
    [0, 1, 2].map(|index| works[index].clone())
}

pub async fn a_cancelled_work_stays_readable_with_its_events(store: AnyStore) {
    let later = scheduled(&store, now() + 3600).await;
    let unfinished = |status| matches!(status, Status::Pending | Status::Running);
    let mut ended = Vec::new();
    let works = works_in_every_state(&store).await;
    for id in works.iter().map(|(work, _)| work.id).chain([later.id]) {
        let before = work_of(&store, id).await;
        if !unfinished(before.status) {
            continue;
        }
        let mut events = history(&store, id).await;
        let after = cancelled(&store, id).await;
        let expected = Work {
            status: Status::Cancelled,
            version: before.version + 1,
            updated_on: after.updated_on,
            ..before.clone()
        };
        assert_eq!(after, expected);
        assert_eq!(work_of(&store, id).await, after);
        assert_eq!(by_code(&store, &before.work_code).await, Some(after));
        events.push((Variable::WorkCancelled, String::new()));
        assert_eq!(history(&store, id).await, events);
        ended.push(id.0);
    }
    ended.sort_unstable_by(|one, next| next.cmp(one));
    assert_eq!(ended.len(), 5, "running, to be retried, claimed, sent, and scheduled");
    assert_eq!(ids(&store, with_status(Status::Cancelled)).await, ended);
    assert!(claim(&store).await.is_empty());
    assert_eq!(store.next_due(&[]).await.unwrap(), None);
    assert_eq!(store.rescue(3, 100).await.unwrap(), 0);
    assert_eq!(store.release_sent(KindName::add_up_to(), AT_ONCE).await.unwrap(), 0);
    assert_eq!(store.lose_sent(3).await.unwrap(), 0);
    assert_eq!(store.stats(None).await.unwrap().works.api.cancelled, 5);
}

pub async fn what_comes_late_for_a_cancelled_work_changes_nothing(store: AnyStore) {
    for (work, claim) in works_in_every_state(&store).await {
        if !matches!(
            store.cancel(&Principal::Open, work.id, None).await.unwrap(),
            Changed::Applied(_)
        ) {
            continue;
        }
        let (after, events) = (work_of(&store, work.id).await, history(&store, work.id).await);
        assert_all_late_is_superseded(&store, &claim).await;
        store.mark_sent(std::slice::from_ref(&claim)).await.unwrap();
        store.give_back(&[claim]).await.unwrap();
        assert_eq!(work_of(&store, work.id).await, after);
        assert_eq!(history(&store, work.id).await, events);
    }
    assert!(claim(&store).await.is_empty());
    assert_eq!(letters(&store).await.len(), 1, "of the one that had failed before");
}

pub async fn a_finished_work_cannot_be_cancelled(store: AnyStore) {
    for work in finished_works(&store).await {
        let (before, events) = (work_of(&store, work.id).await, history(&store, work.id).await);
        for version in [None, Some(before.version)] {
            assert_eq!(
                store.cancel(&Principal::Open, work.id, version).await.unwrap(),
                Changed::WrongStatus(before.status)
            );
        }
        assert_eq!(work_of(&store, work.id).await, before);
        assert_eq!(history(&store, work.id).await, events);
    }
    assert_eq!(letters(&store).await.len(), 1);
}

pub async fn a_failed_or_cancelled_work_starts_over(store: AnyStore) {
    let [ended, failed, _] = finished_works(&store).await;
    for work in [ended, failed] {
        let before = work_of(&store, work.id).await;
        let after = retried(&store, work.id).await;
        let expected = Work {
            status: Status::Pending,
            version: before.version + 1,
            updated_on: after.updated_on,
            error: None,
            attempt: 1,
            progress: None,
            ..before.clone()
        };
        assert_eq!(after, expected);
        assert_eq!(work_of(&store, work.id).await, after);
        let events = history(&store, work.id).await;
        assert_eq!(events.last(), Some(&(Variable::WorkRedriven, String::new())));
        let claims = claim(&store).await;
        let state = (claims[0].run.generation, claims[0].run.attempt, claims[0].failures);
        assert_eq!((claims.len(), claims[0].id, state), (1, work.id, (2, 1, 0)));
        let old = Completion {
            guard: pending_guard(1, 1),
            ..completion(&claims[0], done(9))
        };
        assert_eq!(complete_one(&store, old).await, Completed::Superseded);
        let number = i64::from(work.add_up_to().unwrap().get());
        assert_eq!(
            complete_one(&store, completion(&claims[0], done(number))).await,
            Completed::Applied
        );
        assert_eq!(work_of(&store, work.id).await.status, Status::Done);
    }
    assert!(letters(&store).await.is_empty());
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 0);
}

pub async fn a_cancelled_work_is_given_another_bound_like_any_other(store: AnyStore) {
    let work = created(&store, &[4]).await.remove(0);
    cancelled(&store, work.id).await;
    let after = applied(
        store
            .update(&Principal::Open, work.id, &bound(5).args(), None, AT_ONCE)
            .await
            .unwrap(),
    );
    assert_eq!((after.status, after.version), (Status::Pending, 3));
    let claims = claim(&store).await;
    assert_eq!((claims[0].id, claims[0].run.generation), (work.id, 2));
    assert_eq!(
        complete_one(&store, completion(&claims[0], done(5))).await,
        Completed::Applied
    );
}

pub async fn a_work_that_is_started_over_goes_on_waiting_for_its_run_at(store: AnyStore) {
    let run_at = now() + 3600;
    let work = scheduled(&store, run_at).await;
    cancelled(&store, work.id).await;
    let after = retried(&store, work.id).await;
    assert_eq!((after.run_at, after.status), (Some(run_at), Status::Pending));
    assert!(claim(&store).await.is_empty());
    let wait = store.next_due(&[]).await.unwrap().unwrap();
    assert!(wait > Duration::from_secs(3590), "{wait:?}");
}

pub async fn only_a_failed_or_cancelled_work_is_started_over(store: AnyStore) {
    for (work, _) in works_in_every_state(&store).await {
        let before = work_of(&store, work.id).await;
        if before.status != Status::Failed {
            let retried = store.retry(&Principal::Open, work.id, None).await.unwrap();
            assert_eq!(retried, Changed::WrongStatus(before.status));
            assert_eq!(work_of(&store, work.id).await, before);
        }
    }
}

pub async fn an_end_and_a_new_start_are_guarded_by_the_version_they_name(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    for stale in [0, 2, -1, i64::MAX] {
        assert_eq!(
            store.cancel(&Principal::Open, work.id, Some(stale)).await.unwrap(),
            Changed::OtherVersion
        );
    }
    assert_eq!(work_of(&store, work.id).await, work);
    applied(store.cancel(&Principal::Open, work.id, Some(1)).await.unwrap());
    for stale in [1, 3] {
        assert_eq!(
            store.cancel(&Principal::Open, work.id, Some(stale)).await.unwrap(),
            Changed::OtherVersion
        );
        assert_eq!(
            store.retry(&Principal::Open, work.id, Some(stale)).await.unwrap(),
            Changed::OtherVersion
        );
    }
    applied(store.retry(&Principal::Open, work.id, Some(2)).await.unwrap());
    store.delete(&Principal::Open, work.id, None).await.unwrap();
    for id in [work.id, WorkId(i64::MAX), WorkId(0), WorkId(-1)] {
        for version in [None, Some(1), Some(4)] {
            assert_eq!(
                store.cancel(&Principal::Open, id, version).await.unwrap(),
                Changed::Missing
            );
            assert_eq!(
                store.retry(&Principal::Open, id, version).await.unwrap(),
                Changed::Missing
            );
        }
    }
}

pub async fn of_many_that_cancel_or_start_over_at_once_one_does(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    for round in 1..=3 {
        for starts_over in [false, true] {
            let changing = (0..8).map(|_| {
                let (store, id) = (store.clone(), work.id);
                tokio::spawn(async move {
                    if starts_over {
                        store.retry(&Principal::Open, id, None).await.unwrap()
                    } else {
                        store.cancel(&Principal::Open, id, None).await.unwrap()
                    }
                })
            });
            let mut count = 0;
            for changed in changing.collect::<Vec<_>>() {
                count += usize::from(matches!(changed.await.unwrap(), Changed::Applied(_)));
            }
            assert_eq!(count, 1, "round {round}");
        }
    }
    let variables: Vec<_> = history(&store, work.id)
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let rounds = [Variable::WorkCancelled, Variable::WorkRedriven].repeat(3);
    assert_eq!(variables, [&[Variable::WorkCreated][..], &rounds].concat());
}

pub async fn a_cancelled_work_that_is_deleted_is_gone(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    cancelled(&store, work.id).await;
    assert_eq!(
        store.delete(&Principal::Open, work.id, None).await.unwrap(),
        Changed::Applied(())
    );
    assert!(store.by_ids(&[work.id]).await.unwrap().is_empty());
    assert!(ids(&store, with_status(Status::Cancelled)).await.is_empty());
    assert_eq!(
        store.retry(&Principal::Open, work.id, None).await.unwrap(),
        Changed::Missing
    );
    assert!(store.claim(&[], None, HOLD, 10).await.unwrap().is_empty());
}

pub async fn what_was_cancelled_long_ago_goes_with_its_events(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    cancelled(&store, work.id).await;
    let kept = store
        .purge(WorkId(0), &RetentionTimes::all(Duration::from_secs(3600)), 10)
        .await
        .unwrap();
    assert_eq!(kept.works, 0, "not before its time");
    eventually!(
        store
            .purge(WorkId(0), &RetentionTimes::all(AT_ONCE), 10)
            .await
            .unwrap()
            .works
            == 1
    );
    assert!(store.by_ids(&[work.id]).await.unwrap().is_empty());
}
