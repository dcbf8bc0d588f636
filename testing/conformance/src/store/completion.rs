//! What workers record: completions, leases, rescues.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{
    LEASE, applied, bound, by_code, claim, complete_one, completion, created, done, everything, history, ids, names,
    retry, running, without_row, work_of,
};
use pp_lib::domain::{AddUpTo, Json, KindName, Origin, Run, Status, Variable};
use pp_lib::runtime::{new_message_id, new_work_code};
use pp_lib::store::{AnyStore, Completed, Completion, Guard, Outcome, RunningAttempt, Search};

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
        assert_eq!(work.result, work.done().then(|| work.add_up_to().unwrap().sum().into()));
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
