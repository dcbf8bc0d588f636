//! What workers record: completions, leases, rescues.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{
    LEASE, applied, bound, by_code, claim, complete_one, completion, created, done, everything, failed, history, ids,
    names, retry, running, without_row, work_of,
};
use pp_lib::domain::{AddUpTo, AddUpToSum, Json, KindName, Origin, Run, Status, Variable};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{AnyStore, Changed, Claim, Completed, Completion, Guard, Outcome, RunningAttempt, Search};

pub async fn completes_a_demand_without_a_row_once(store: AnyStore) {
    let demand = without_row(100, done(100));
    assert_eq!(complete_one(&store, demand.clone()).await, Completed::Applied);
    let redelivered = Completion {
        work_code: new_work_code(Origin::Consumer),
        ..demand.clone()
    };
    assert_eq!(complete_one(&store, redelivered.clone()).await, Completed::Superseded);
    assert_eq!(by_code(&store, &redelivered.work_code).await, None);
    let work = by_code(&store, &demand.work_code).await.unwrap();
    assert_eq!(
        (work.status, work.result, work.version),
        (Status::Done, Some(Json::from(5050)), 1)
    );
    let expected = [
        (Variable::ComputeStart, ""),
        (Variable::ComputeStop, ""),
        (Variable::ComputeResult, "5050"),
    ];
    assert_eq!(
        history(&store, work.id).await,
        expected.map(|(variable, value)| (variable, value.to_owned()))
    );
    assert!(claim(&store).await.is_empty());
}

pub async fn completes_a_pending_row_once(store: AnyStore) {
    let work = created(&store, &[100]).await.remove(0);
    let claim = claim(&store).await.remove(0);
    assert_eq!(
        complete_one(&store, completion(&claim, done(100))).await,
        Completed::Applied
    );
    assert_eq!(
        complete_one(&store, completion(&claim, done(100))).await,
        Completed::Superseded
    );
    store.mark_sent(&[claim]).await.unwrap();
    let after = work_of(&store, work.id).await;
    assert_eq!(
        (after.status, after.result, after.version),
        (Status::Done, Some(Json::from(5050)), 2)
    );
    let events = history(&store, work.id).await;
    assert_eq!(
        names(&events),
        ["work/created", "compute/start", "compute/stop", "compute/result"]
    );
}

pub async fn a_superseded_completion_changes_nothing(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let claim = claim(&store).await.remove(0);
    let other_generation = Guard::Pending(Run {
        generation: 2,
        attempt: 1,
    });
    let other_attempt = Guard::Pending(Run {
        generation: 1,
        attempt: 2,
    });
    let other_status = Guard::Running(Run::FIRST);
    for guard in [Guard::NoRow, other_generation, other_attempt, other_status] {
        let completion = Completion {
            guard,
            ..completion(&claim, done(3))
        };
        assert_eq!(
            complete_one(&store, completion).await,
            Completed::Superseded,
            "{guard:?}"
        );
    }
    let nobody = Completion {
        message_id: new_message_id(),
        ..completion(&claim, done(3))
    };
    assert_eq!(complete_one(&store, nobody).await, Completed::Superseded);
    assert_eq!(work_of(&store, work.id).await, work);
    assert_eq!(history(&store, work.id).await.len(), 1);
}

pub async fn a_completion_with_another_bound_changes_nothing(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let claim = claim(&store).await.remove(0);
    let forged = Completion {
        args: Some(bound(4).args()),
        ..completion(&claim, done(4))
    };
    assert_eq!(complete_one(&store, forged).await, Completed::Superseded);
    assert_eq!(work_of(&store, work.id).await, work);
}

pub async fn a_taken_code_of_a_completion_is_said(store: AnyStore) {
    let first = without_row(3, done(3));
    complete_one(&store, first.clone()).await;
    let second = Completion {
        work_code: first.work_code.clone(),
        ..without_row(4, done(4))
    };
    assert_eq!(complete_one(&store, second.clone()).await, Completed::CodeTaken);
    let second = Completion {
        work_code: new_work_code(Origin::Consumer),
        ..second
    };
    assert_eq!(complete_one(&store, second).await, Completed::Applied);
}

pub async fn running_then_done_has_each_event_once(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let claim = claim(&store).await.remove(0);
    let start = completion(&claim, Outcome::running(LEASE));
    assert_eq!(
        complete_one(&store, start.clone()).await,
        Completed::Started(claim.args.clone())
    );
    assert_eq!(work_of(&store, work.id).await.status, Status::Running);
    assert_eq!(
        complete_one(&store, start).await,
        Completed::Started(claim.args.clone()),
        "a repeated call knows its own claim"
    );
    let second = completion(&claim, Outcome::running(LEASE));
    assert_eq!(
        complete_one(&store, second).await,
        Completed::Superseded,
        "a second delivery finds it running"
    );
    let run = RunningAttempt {
        message_id: claim.message_id.clone(),
        run: Run::FIRST,
    };
    let stranger = RunningAttempt {
        run: Run {
            generation: 1,
            attempt: 2,
        },
        ..run.clone()
    };
    assert_eq!(
        store
            .extend_leases(KindName::add_up_to(), &[stranger, run.clone()], LEASE)
            .await
            .unwrap(),
        [false, true]
    );
    assert_eq!(complete_one(&store, running(&claim, done(3))).await, Completed::Applied);
    assert_eq!(
        complete_one(&store, running(&claim, done(3))).await,
        Completed::Superseded
    );
    assert_eq!(
        store.extend_leases(KindName::add_up_to(), &[run], LEASE).await.unwrap(),
        [false]
    );
    let after = work_of(&store, work.id).await;
    assert_eq!(
        (after.status, after.result, after.version),
        (Status::Done, Some(Json::from(6)), 3)
    );
    let events = history(&store, work.id).await;
    assert_eq!(
        names(&events),
        ["work/created", "compute/start", "compute/stop", "compute/result"]
    );
}

pub async fn a_retry_waits_and_is_the_next_attempt(store: AnyStore) {
    let demand = without_row(7, retry(Duration::from_millis(30)));
    assert_eq!(complete_one(&store, demand.clone()).await, Completed::Applied);
    let work = by_code(&store, &demand.work_code).await.unwrap();
    assert_eq!(work.status, Status::Pending);
    let mut claims = claim(&store).await;
    eventually!({
        claims.extend(claim(&store).await);
        !claims.is_empty()
    });
    assert_eq!(
        (claims[0].run.attempt, claims[0].run.generation, claims[0].failures),
        (2, 1, 1)
    );
    let again = completion(&claims[0], retry(LEASE));
    assert_eq!(complete_one(&store, again).await, Completed::Applied);
    assert!(claim(&store).await.is_empty(), "due later");
    let events = history(&store, work.id).await;
    assert_eq!(
        names(&events),
        ["compute/start", "compute/error", "compute/start", "compute/error"]
    );
    assert_eq!(events[1].1, "not now");
}

pub async fn a_failure_is_final_and_a_dead_letter(store: AnyStore) {
    let demand = without_row(
        13,
        Outcome::Failed {
            reason: "never".to_owned(),
        },
    );
    assert_eq!(complete_one(&store, demand.clone()).await, Completed::Applied);
    let work = by_code(&store, &demand.work_code).await.unwrap();
    assert_eq!((work.status, work.done(), work.result), (Status::Failed, false, None));
    assert_eq!(
        names(&history(&store, work.id).await),
        ["compute/start", "compute/error"]
    );
    assert!(claim(&store).await.is_empty());
    assert_eq!(
        ids(
            &store,
            Search {
                status: Some((Status::Failed, true)),
                ..everything()
            }
        )
        .await,
        [work.id.0]
    );
}

pub async fn a_batch_completes_everything_in_it(store: AnyStore) {
    created(&store, &(1..=50).collect::<Vec<i64>>()).await;
    let mut completions: Vec<Completion> = (1..=50).map(|number| without_row(number, done(number))).collect();
    for claim in claim(&store).await {
        completions.push(completion(
            &claim,
            done(i64::from(AddUpTo::of_args(&claim.args).unwrap().get())),
        ));
    }
    completions.push(without_row(51, Outcome::running(LEASE)));
    completions.push(without_row(
        52,
        Outcome::Failed {
            reason: "never".to_owned(),
        },
    ));
    assert!(
        store
            .complete(KindName::add_up_to(), &completions)
            .await
            .unwrap()
            .iter()
            .all(applied)
    );
    assert!(
        store
            .complete(KindName::add_up_to(), &completions)
            .await
            .unwrap()
            .iter()
            .all(|completed| matches!(completed, Completed::Superseded | Completed::Started(_)))
    );
    for work in store.search(&everything()).await.unwrap() {
        let api = work.work_code.origin() == Origin::Api;
        let expected: &[&str] = match work.status {
            Status::Done if api => &["work/created", "compute/start", "compute/stop", "compute/result"],
            Status::Done => &["compute/start", "compute/stop", "compute/result"],
            Status::Running => &["compute/start"],
            Status::Failed => &["compute/start", "compute/error"],
            other => panic!("{other} is not what was recorded"),
        };
        assert_eq!(names(&history(&store, work.id).await), expected);
        assert_eq!(
            work.result,
            work.done().then(|| AddUpToSum::sum(work.add_up_to().unwrap()).into())
        );
    }
    assert!(store.complete(KindName::add_up_to(), &[]).await.unwrap().is_empty());
}

pub async fn two_complete_the_same_demands_at_once(store: AnyStore) {
    created(&store, &(1..=100).collect::<Vec<i64>>()).await;
    let mut demands: Vec<Completion> = (1..=100).map(|number| without_row(number, done(number))).collect();
    for claim in claim(&store).await {
        demands.push(completion(
            &claim,
            done(i64::from(AddUpTo::of_args(&claim.args).unwrap().get())),
        ));
    }
    let workers = [false, true].map(|reversed| {
        let (store, mut mine) = (store.clone(), demands.clone());
        if reversed {
            mine.reverse();
        }
        tokio::spawn(async move { store.complete(KindName::add_up_to(), &mine).await.unwrap() })
    });
    let mut recorded = 0;
    for worker in workers {
        recorded += worker.await.unwrap().iter().filter(|one| applied(one)).count();
    }
    assert_eq!(recorded, 200);
    for work in store.search(&everything()).await.unwrap() {
        let compute = history(&store, work.id).await.len() - usize::from(work.work_code.origin() == Origin::Api);
        assert_eq!((work.status, compute), (Status::Done, 3));
    }
}

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
        .update(work.id, &bound(5).args(), None, Duration::ZERO)
        .await
        .unwrap();
    assert!(matches!(changed, Changed::Applied(_)));
    assert_eq!(counted(&claim(&store).await[0]), (1, 0, 0), "a new generation");
}

pub async fn the_largest_sum_is_kept_exactly(store: AnyStore) {
    let largest = i64::from(AddUpTo::MAX.get());
    let demand = without_row(largest, done(largest));
    complete_one(&store, demand.clone()).await;
    let work = by_code(&store, &demand.work_code).await.unwrap();
    assert_eq!(
        (work.add_up_to().unwrap(), work.result),
        (AddUpTo::MAX, Some(Json::from(2_305_843_008_139_952_128)))
    );
    assert_eq!(history(&store, work.id).await[2].1, "2305843008139952128");
}
