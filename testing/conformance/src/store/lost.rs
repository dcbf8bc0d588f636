//! Attempts without an end: leases that run out, workers that ended, attempts handed back, and how they are counted.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{
    LEASE, applied, bound, by_code, claim, complete_one, completion, created, done, failed, history, names, retry,
    running, without_row, work_of,
};
use pp_lib::domain::{AddUpTo, KindName, Principal, Run, Status};
use pp_lib::store::{AnyStore, Changed, Claim, Completed, Completion, Guard, Outcome, RunningAttempt};

pub async fn a_lease_that_runs_out_is_rescued(store: AnyStore) {
    let demand = without_row(3, Outcome::running(Duration::from_millis(20)));
    complete_one(&store, demand.clone()).await;
    let work = by_code(&store, &demand.work_code).await.unwrap();
    let kept = without_row(4, Outcome::running(LEASE));
    complete_one(&store, kept).await;
    eventually!(store.rescue(3, 100).await.unwrap() == 1);
    let claims = claim(&store).await;
    assert_eq!(
        (claims.len(), claims[0].id, claims[0].run.attempt, claims[0].failures),
        (1, work.id, 2, 0)
    );
    let late = Completion {
        guard: Guard::Running(Run::FIRST),
        ..completion(&claims[0], done(3))
    };
    assert_eq!(
        complete_one(&store, late).await,
        Completed::Superseded,
        "the silent worker wakes up too late"
    );
    assert_eq!(
        complete_one(&store, completion(&claims[0], done(3))).await,
        Completed::Applied
    );
    let events = history(&store, work.id).await;
    assert_eq!(
        names(&events),
        [
            "compute/start",
            "compute/error",
            "compute/start",
            "compute/stop",
            "compute/result"
        ]
    );
}

pub async fn too_many_lost_leases_fail(store: AnyStore) {
    let demand = without_row(3, Outcome::running(Duration::ZERO));
    complete_one(&store, demand.clone()).await;
    for attempt in 2..=3 {
        eventually!(store.rescue(2, 100).await.unwrap() == 1);
        let again = claim(&store).await.remove(0);
        assert_eq!(again.run.attempt, attempt);
        let again = completion(&again, Outcome::running(Duration::ZERO));
        assert!(applied(&complete_one(&store, again).await));
    }
    eventually!(store.rescue(2, 100).await.unwrap() == 1);
    let work = by_code(&store, &demand.work_code).await.unwrap();
    assert_eq!(work.status, Status::Failed);
    assert!(claim(&store).await.is_empty());
    assert_eq!(
        names(&history(&store, work.id).await),
        ["compute/start", "compute/error"].repeat(3)
    );
}

pub async fn every_running_row_is_lost_where_all_workers_ended(store: AnyStore) {
    let works = created(&store, &[3, 4, 5]).await;
    let claims = claim(&store).await;
    let started = claims[..2]
        .iter()
        .map(|claim| completion(claim, Outcome::running(LEASE)));
    store
        .complete(KindName::add_up_to(), &started.collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(store.lose_running(1).await.unwrap(), 2, "the third one is only claimed");
    let again = claim(&store).await;
    assert_eq!(again.len(), 2);
    for claim in &again {
        assert_eq!(counted(claim), (2, 0, 1));
        let events = history(&store, claim.id).await;
        assert_eq!(events.last().unwrap().1, "lease lost");
    }
    complete_one(&store, completion(&again[0], Outcome::running(LEASE))).await;
    assert_eq!(store.lose_running(1).await.unwrap(), 1);
    assert_eq!(
        work_of(&store, again[0].id).await.status,
        Status::Failed,
        "lost too often"
    );
    assert_eq!(store.lose_running(1).await.unwrap(), 0);
    assert_eq!(works.len(), 3);
}

fn run_of(claim: &Claim) -> RunningAttempt {
    RunningAttempt {
        message_id: claim.message_id.clone(),
        run: claim.run,
    }
}

fn counted(claim: &Claim) -> (i32, i32, i32) {
    (claim.run.attempt, claim.failures, claim.lost_leases)
}

pub async fn what_is_handed_back_runs_again_at_once_and_nothing_is_counted(store: AnyStore) {
    created(&store, &[3, 4]).await;
    let claims = claim(&store).await;
    let lease = Outcome::running(LEASE);
    let started: Vec<Completion> = claims.iter().map(|claim| completion(claim, lease.clone())).collect();
    store.complete(KindName::add_up_to(), &started).await.unwrap();
    let (mine, other) = (&claims[0], &claims[1]);
    let late = RunningAttempt {
        run: Run {
            generation: 1,
            attempt: 2,
        },
        ..run_of(other)
    };
    assert_eq!(store.hand_back(KindName::add_up_to(), &[]).await.unwrap(), 0);
    assert_eq!(
        store
            .hand_back(KindName::add_up_to(), &[run_of(mine), late])
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        store.hand_back(KindName::add_up_to(), &[run_of(mine)]).await.unwrap(),
        0,
        "it is handed back already"
    );
    assert_eq!(work_of(&store, other.id).await.status, Status::Running);
    let work = work_of(&store, mine.id).await;
    assert_eq!((work.status, work.version), (Status::Pending, 3));
    let again = claim(&store).await.remove(0);
    assert_eq!((again.id, counted(&again)), (mine.id, (2, 0, 0)));
    // The worker that was told to stop comes to an end after all.
    for outcome in [done(3), failed("late"), retry(Duration::ZERO)] {
        assert_eq!(
            complete_one(&store, running(mine, outcome)).await,
            Completed::Superseded
        );
    }
    assert_eq!(
        store
            .extend_leases(KindName::add_up_to(), &[run_of(mine)], LEASE)
            .await
            .unwrap(),
        [false]
    );
    let sum = done(i64::from(AddUpTo::of_args(&again.args).unwrap().get()));
    assert_eq!(complete_one(&store, completion(&again, sum)).await, Completed::Applied);
    let events = history(&store, mine.id).await;
    let told = ["start", "error", "start", "stop", "result"].map(|word| format!("compute/{word}"));
    assert_eq!(names(&events)[1..], told);
    assert_eq!(events[2].1, "handed back");
}

pub async fn failures_lost_leases_and_attempts_are_counted_apart(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let at_once = Outcome::running(Duration::ZERO);
    let mut expected = (1, 0, 0);
    for end in [
        "failure",
        "hand back",
        "lost",
        "failure while running",
        "hand back",
        "lost message",
    ] {
        let row = claim(&store).await.remove(0);
        assert_eq!(counted(&row), expected, "before {end}");
        let running_now = async |lease: Outcome| complete_one(&store, completion(&row, lease)).await;
        match end {
            "failure" => {
                complete_one(&store, completion(&row, retry(Duration::ZERO))).await;
                expected.1 += 1;
            }
            "failure while running" => {
                running_now(Outcome::running(LEASE)).await;
                complete_one(&store, running(&row, retry(Duration::ZERO))).await;
                expected.1 += 1;
            }
            "lost" => {
                running_now(at_once.clone()).await;
                eventually!(store.rescue(9, 100).await.unwrap() == 1);
                expected.2 += 1;
            }
            "lost message" => {
                store.lose_sent(9).await.unwrap();
                expected.2 += 1;
                // Its attempt did not begin.
                expected.0 -= 1;
            }
            _ => {
                running_now(Outcome::running(LEASE)).await;
                assert_eq!(
                    store.hand_back(KindName::add_up_to(), &[run_of(&row)]).await.unwrap(),
                    1
                );
            }
        }
        expected.0 += 1;
    }
    assert_eq!((counted(&claim(&store).await[0]), expected), (expected, (6, 2, 2)));
    let changed = store
        .update(&Principal::Open, work.id, &bound(5).args(), None, Duration::ZERO)
        .await
        .unwrap();
    assert!(matches!(changed, Changed::Applied(_)));
    assert_eq!(counted(&claim(&store).await[0]), (1, 0, 0), "a new generation");
}
