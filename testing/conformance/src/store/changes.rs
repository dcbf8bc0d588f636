//! Works changed and deleted by their owners, and what is under way for them meanwhile.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{
    HOLD, LEASE, applied, bound, by_code, claim, complete_one, completion, created, done, everything, failed, history,
    ids, letters, new_work, now, pending_guard, retry, running_guard, without_row, work_of,
};
use pp_lib::domain::{AddUpTo, Json, KindName, Origin, Principal, Run, Status, Variable, Work, WorkCodePrefix, WorkId};
use pp_lib::runtime::new_work_code;
use pp_lib::store::{
    AnyStore, Changed, Claim, Completed, Completion, Guard, NewWork, Outcome, RunningAttempt, Search, Selection,
};

/// How long updates wait in these cases: longer than the cases take.
const PAUSE: Duration = LEASE;
pub(super) const AT_ONCE: Duration = Duration::ZERO;

async fn updated(store: &AnyStore, id: WorkId, number: i64, pause: Duration) -> Work {
    match store
        .update(&Principal::Open, id, &bound(number).args(), None, pause)
        .await
        .unwrap()
    {
        Changed::Applied(work) => work,
        other => panic!("{other:?}"),
    }
}

async fn deleted(store: &AnyStore, id: WorkId) {
    assert_eq!(
        store.delete(&Principal::Open, id, None).await.unwrap(),
        Changed::Applied(())
    );
}

/// A work in each status that an update may find, with its claim: done, failed, running, retried, claimed, sent.
pub(super) async fn works_in_every_state(store: &AnyStore) -> Vec<(Work, Claim)> {
    let works = created(store, &[10, 11, 12, 13, 14, 15]).await;
    let mut claims = claim(store).await;
    claims.sort_by_key(|claim| claim.id);
    let batch = [
        completion(&claims[0], done(10)),
        completion(&claims[1], failed("never")),
        completion(&claims[2], Outcome::running(LEASE)),
        completion(&claims[3], retry(LEASE)),
    ];
    let completed = store.complete(KindName::add_up_to(), &batch).await.unwrap();
    assert!(completed.iter().all(applied), "{completed:?}");
    store.mark_sent(&claims[5..]).await.unwrap();
    works.into_iter().zip(claims).collect()
}

/// Every completion that comes late for the first attempt of a changed work is superseded, and its lease is over.
pub(super) async fn assert_all_late_is_superseded(store: &AnyStore, claim: &Claim) {
    for guard in [
        Guard::NoRow,
        pending_guard(1, 1),
        running_guard(1, 1),
        pending_guard(1, 2),
    ] {
        for outcome in [done(10), failed("late"), retry(AT_ONCE), Outcome::running(AT_ONCE)] {
            let late = Completion {
                guard,
                ..completion(claim, outcome)
            };
            assert_eq!(complete_one(store, late).await, Completed::Superseded);
        }
    }
    let run = RunningAttempt {
        message_id: claim.message_id.clone(),
        run: Run::FIRST,
    };
    assert_eq!(
        store.extend_leases(KindName::add_up_to(), &[run], LEASE).await.unwrap(),
        [false]
    );
}

pub async fn an_update_makes_a_work_of_any_status_pending_anew(store: AnyStore) {
    let works = works_in_every_state(&store).await;
    assert_eq!(letters(&store).await.len(), 1);
    for (before, _) in &works {
        let before = work_of(&store, before.id).await;
        let after = updated(&store, before.id, 20, AT_ONCE).await;
        let expected = Work {
            args: bound(20).args(),
            status: Status::Pending,
            result: None,
            version: before.version + 1,
            updated_on: after.updated_on,
            error: None,
            attempt: 1,
            progress: None,
            ..before.clone()
        };
        assert_eq!(after, expected);
        assert!(after.updated_on >= before.updated_on);
        assert_eq!(work_of(&store, before.id).await, after, "as it was answered");
        let events = history(&store, before.id).await;
        assert_eq!(events.last(), Some(&(Variable::WorkUpdated, "20".to_owned())));
    }
    assert!(
        letters(&store).await.is_empty(),
        "the letter of the one that had failed"
    );
    let mut claims = Vec::new();
    eventually!({
        claims.extend(claim(&store).await);
        claims.len() == works.len()
    });
    for claim in &claims {
        let state = (
            claim.run.generation,
            claim.run.attempt,
            claim.failures,
            AddUpTo::of_args(&claim.args).unwrap(),
        );
        assert_eq!(state, (2, 1, 0, bound(20)));
        assert_eq!(
            complete_one(&store, completion(claim, done(20))).await,
            Completed::Applied
        );
    }
    for (work, _) in works {
        let after = work_of(&store, work.id).await;
        assert_eq!((after.status, after.result), (Status::Done, Some(Json::from(210))));
    }
}

pub async fn an_update_waits_for_its_pause(store: AnyStore) {
    let works = works_in_every_state(&store).await;
    for (work, _) in &works {
        updated(&store, work.id, 20, PAUSE).await;
    }
    assert!(claim(&store).await.is_empty(), "nothing is due within the pause");
    for (work, _) in &works {
        updated(&store, work.id, 21, AT_ONCE).await;
    }
    eventually!(store.claim(&[], None, HOLD, 1000).await.unwrap().len() == works.len());
}

pub async fn a_series_of_updates_is_due_when_the_first_one_was(store: AnyStore) {
    let works = created(&store, &[1, 2]).await;
    let fresh = &works[0];
    for number in 10..20 {
        updated(&store, fresh.id, number, PAUSE).await;
    }
    let first = store.claim(&[], None, HOLD, 1000).await.unwrap();
    let first = first.iter().find(|claim| claim.id == fresh.id);
    let first = first.expect("due since it was created, and not put off");
    assert_eq!(
        (first.run.generation, AddUpTo::of_args(&first.args).unwrap()),
        (11, bound(19)),
        "computed once, the newest"
    );
    assert_eq!(
        complete_one(&store, completion(first, done(19))).await,
        Completed::Applied
    );

    updated(&store, fresh.id, 30, Duration::from_millis(200)).await;
    // Were each of these to begin the pause anew, it would not end.
    let mut claims = Vec::new();
    eventually!({
        updated(&store, fresh.id, 31, PAUSE).await;
        claims.extend(claim(&store).await);
        !claims.is_empty()
    });
    assert_eq!(
        (claims[0].id, AddUpTo::of_args(&claims[0].args).unwrap()),
        (fresh.id, bound(31))
    );
}

pub async fn an_updated_work_goes_on_waiting_for_its_run_at(store: AnyStore) {
    let run_at = Some(now() + 3600);
    let scheduled = NewWork {
        run_at,
        ..new_work(Origin::Api, 4)
    };
    let work = store.create(&[scheduled]).await.unwrap().remove(0).unwrap();
    let after = updated(&store, work.id, 5, AT_ONCE).await;
    assert_eq!((after.run_at, after.status), (run_at, Status::Pending));
    assert!(claim(&store).await.is_empty());
    let wait = store.next_due(&[]).await.unwrap().unwrap();
    assert!(wait > Duration::from_secs(3590), "{wait:?}");
}

pub async fn what_is_under_way_for_an_older_generation_has_no_effect(store: AnyStore) {
    let works = works_in_every_state(&store).await;
    for (work, claim) in &works {
        let after = updated(&store, work.id, 20, PAUSE).await;
        let events = history(&store, work.id).await;
        assert_all_late_is_superseded(&store, claim).await;
        store.mark_sent(std::slice::from_ref(claim)).await.unwrap();
        store.give_back(std::slice::from_ref(claim)).await.unwrap();
        assert_eq!(work_of(&store, work.id).await, after);
        assert_eq!(history(&store, work.id).await, events);
    }
    assert_eq!(store.rescue(3, 100).await.unwrap(), 0);
    assert!(letters(&store).await.is_empty() && claim(&store).await.is_empty());

    // What is due at once stays due, whatever happens to an older claim.
    for (work, old) in &works {
        updated(&store, work.id, 21, AT_ONCE).await;
        store.mark_sent(std::slice::from_ref(old)).await.unwrap();
    }
    assert_eq!(claim(&store).await.len(), works.len());
}

pub async fn a_change_is_guarded_by_the_version_it_names(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    for stale in [0, 2, -1, i64::MAX] {
        let update = store
            .update(&Principal::Open, work.id, &bound(5).args(), Some(stale), AT_ONCE)
            .await
            .unwrap();
        assert_eq!(update, Changed::OtherVersion);
        assert_eq!(
            store.delete(&Principal::Open, work.id, Some(stale)).await.unwrap(),
            Changed::OtherVersion
        );
    }
    assert_eq!(work_of(&store, work.id).await, work);
    let Changed::Applied(second) = store
        .update(&Principal::Open, work.id, &bound(5).args(), Some(1), AT_ONCE)
        .await
        .unwrap()
    else {
        panic!("version 1 is what it is at");
    };
    assert_eq!((second.version, second.add_up_to().unwrap()), (2, bound(5)));
    let again = store
        .update(&Principal::Open, work.id, &bound(6).args(), Some(1), AT_ONCE)
        .await
        .unwrap();
    assert_eq!(again, Changed::OtherVersion);
    assert_eq!(
        store.delete(&Principal::Open, work.id, Some(2)).await.unwrap(),
        Changed::Applied(())
    );
}

pub async fn of_many_changes_of_one_version_one_takes_effect(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let changing = (0..16).map(|number| {
        let (store, id) = (store.clone(), work.id);
        tokio::spawn(async move {
            if number % 4 == 0 {
                matches!(
                    store.delete(&Principal::Open, id, Some(1)).await.unwrap(),
                    Changed::Applied(())
                )
            } else {
                matches!(
                    store
                        .update(&Principal::Open, id, &bound(number).args(), Some(1), AT_ONCE)
                        .await
                        .unwrap(),
                    Changed::Applied(_)
                )
            }
        })
    });
    let mut applied = 0;
    for changed in changing.collect::<Vec<_>>() {
        applied += usize::from(changed.await.unwrap());
    }
    assert_eq!(applied, 1);
}

pub async fn what_is_not_there_cannot_be_changed(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    deleted(&store, work.id).await;
    for id in [work.id, WorkId(i64::MAX), WorkId(0), WorkId(-1)] {
        for version in [None, Some(1), Some(2)] {
            let update = store
                .update(&Principal::Open, id, &bound(5).args(), version, AT_ONCE)
                .await
                .unwrap();
            assert_eq!(update, Changed::Missing);
            assert_eq!(
                store.delete(&Principal::Open, id, version).await.unwrap(),
                Changed::Missing,
                "also the second time"
            );
        }
    }
}

pub async fn a_deleted_work_is_hidden_from_everything_that_reads(store: AnyStore) {
    let works = works_in_every_state(&store).await;
    let kept = created(&store, &[99]).await.remove(0);
    for (work, _) in &works {
        deleted(&store, work.id).await;
        assert!(store.by_ids(&[work.id]).await.unwrap().is_empty());
        assert_eq!(by_code(&store, &work.work_code).await, None);
        assert_eq!(store.events(work.id).await.unwrap(), None);
    }
    assert_eq!(ids(&store, everything()).await, [kept.id.0]);
    for status in Status::ALL {
        for (within, expected) in [(true, status == Status::Pending), (false, status != Status::Pending)] {
            let search = Search {
                status: Some((status, within)),
                work_code: WorkCodePrefix::parse("api-"),
                since: Some(0),
                ..everything()
            };
            assert_eq!(
                ids(&store, search).await.len(),
                usize::from(expected),
                "{status} {within}"
            );
        }
    }
    assert!(
        letters(&store).await.is_empty(),
        "the letter of the one that had failed"
    );
}

pub async fn a_deleted_work_is_never_taken_up_again(store: AnyStore) {
    let silent = without_row(7, Outcome::running(AT_ONCE));
    complete_one(&store, silent.clone()).await;
    let silent = by_code(&store, &silent.work_code).await.unwrap();
    let due = created(&store, &[8]).await.remove(0);
    let scheduled = NewWork {
        run_at: Some(now() + 1),
        ..new_work(Origin::Api, 4)
    };
    let scheduled = store.create(&[scheduled]).await.unwrap().remove(0).unwrap().work;
    for work in [&silent, &due, &scheduled] {
        deleted(&store, work.id).await;
    }
    // A second one shows that its time has come.
    let witness = NewWork {
        run_at: Some(now() + 1),
        ..new_work(Origin::Api, 5)
    };
    store.create(std::slice::from_ref(&witness)).await.unwrap();
    let mut claims = Vec::new();
    eventually!({
        claims.extend(claim(&store).await);
        !claims.is_empty()
    });
    assert_eq!((claims.len(), &claims[0].work_code), (1, &witness.work_code));
    assert_eq!(store.rescue(3, 100).await.unwrap(), 0);
    complete_one(&store, completion(&claims[0], done(5))).await;
    assert_eq!(store.release_sent(KindName::add_up_to(), AT_ONCE).await.unwrap(), 0);
    assert_eq!(store.lose_sent(3).await.unwrap(), 0);
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 0);
}

pub async fn what_comes_late_for_a_deleted_work_changes_nothing(store: AnyStore) {
    for (work, claim) in works_in_every_state(&store).await {
        deleted(&store, work.id).await;
        // Nor does another code bring it back.
        let other = Claim {
            work_code: new_work_code(Origin::Consumer),
            ..claim.clone()
        };
        assert_all_late_is_superseded(&store, &other).await;
        assert_eq!(by_code(&store, &other.work_code).await, None);
        store.give_back(&[claim]).await.unwrap();
    }
    assert!(ids(&store, everything()).await.is_empty() && letters(&store).await.is_empty());
    assert!(claim(&store).await.is_empty());
    assert_eq!(store.rescue(3, 100).await.unwrap(), 0);
}

pub async fn creating_a_deleted_work_again_does_not_bring_it_back(store: AnyStore) {
    let wanted = new_work(Origin::Api, 4);
    let work = store
        .create(std::slice::from_ref(&wanted))
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    deleted(&store, work.id).await;
    let again = store
        .create(std::slice::from_ref(&wanted))
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(
        (again.id, again.status),
        (work.id, Status::Cancelled),
        "the row that remembers the demand"
    );
    assert!(store.by_ids(&[work.id]).await.unwrap().is_empty() && claim(&store).await.is_empty());
}
