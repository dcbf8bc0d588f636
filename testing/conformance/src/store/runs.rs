//! What a row tells of its runs: the reason of the last failure, the arguments, and whose claim it is.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{
    LEASE, applied, bound, by_code, claim, completion, failed, history, letters, pending_guard, retry, running,
    running_guard, work_of,
};
use super::kinds::{complete, create, demand, done, json, kinds, some, wanted};
use pp_lib::domain::{Origin, Principal, Status, Variable, Work};
use pp_lib::runtime::new_work_code;
use pp_lib::store::{AnyStore, Changed, Claim, Completed, Completion, Guard, NewWork, Outcome, Selection};

const AT_ONCE: Duration = Duration::ZERO;

/// The error and the attempt that a work shows.
async fn shown(store: &AnyStore, work: &Work) -> (Option<String>, i32) {
    let work = work_of(store, work.id).await;
    (work.error, work.attempt)
}

async fn claimed(store: &AnyStore) -> Claim {
    let mut claims = Vec::new();
    eventually!({
        claims.extend(claim(store).await);
        !claims.is_empty()
    });
    assert_eq!(claims.len(), 1);
    claims.remove(0)
}

pub async fn an_error_lasts_until_success_or_a_new_start(store: AnyStore) {
    let [mail, ..] = kinds();
    let error = |reason: &str| Some(reason.to_owned());
    let work = some(&store, &mail, 1).await.remove(0);
    assert_eq!((&work.error, work.attempt), (&None, 1));

    // Attempts fail, pending and running, and the next one begins with what the last one left.
    let first = claimed(&store).await;
    complete(&store, &mail, completion(&first, retry(AT_ONCE))).await;
    assert_eq!(shown(&store, &work).await, (error("not now"), 2));
    let second = claimed(&store).await;
    complete(&store, &mail, completion(&second, Outcome::running(LEASE))).await;
    assert_eq!(
        shown(&store, &work).await,
        (error("not now"), 2),
        "of the attempt before"
    );
    let other_reason = Outcome::Retry {
        reason: "nor now".to_owned(),
        delay: AT_ONCE,
    };
    complete(&store, &mail, running(&second, other_reason)).await;
    assert_eq!(shown(&store, &work).await, (error("nor now"), 3));
    let third = claimed(&store).await;
    assert_eq!((third.run.attempt, third.failures), (3, 2));
    complete(&store, &mail, completion(&third, done(&json("1")))).await;
    assert_eq!(shown(&store, &work).await, (None, 3), "cleared by success");

    // What fails for good keeps it until it is started over.
    let fail_anew = async |reason: &str| {
        let Changed::Applied(updated) = store
            .update(&Principal::Open, work.id, &bound(4).args(), None, AT_ONCE)
            .await
            .unwrap()
        else {
            panic!("work {} is there", work.id);
        };
        assert_eq!((updated.error, updated.attempt), (None, 1), "cleared by an update");
        let claim = claimed(&store).await;
        complete(&store, &mail, completion(&claim, failed(reason))).await;
        assert_eq!(shown(&store, &work).await, (error(reason), 1));
    };
    fail_anew("never").await;
    fail_anew("never more").await;
    let Changed::Applied(retried) = store.retry(&Principal::Open, work.id, None).await.unwrap() else {
        panic!("it had failed");
    };
    assert_eq!((retried.error, retried.attempt), (None, 1), "cleared by a retry");
    fail_anew("once more").await;
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 1);
    assert_eq!(shown(&store, &work).await, (None, 1), "cleared by a redrive");

    // What is cancelled shows why it had not succeeded yet.
    let claim = claimed(&store).await;
    complete(&store, &mail, completion(&claim, retry(LEASE))).await;
    let Changed::Applied(cancelled) = store.cancel(&Principal::Open, work.id, None).await.unwrap() else {
        panic!("it was pending");
    };
    assert_eq!((cancelled.error, cancelled.attempt), (error("not now"), 2));
    let Changed::Applied(retried) = store.retry(&Principal::Open, work.id, None).await.unwrap() else {
        panic!("it was cancelled");
    };
    assert_eq!((retried.error, retried.attempt), (None, 1));
}

pub async fn a_failed_first_attempt_shows_its_error(store: AnyStore) {
    let [mail, ..] = kinds();
    let new = [(); 3].map(|()| wanted(&mail, &json("1")));
    let outcomes = [retry(LEASE), failed("never"), Outcome::running(AT_ONCE)];
    let demands: Vec<Completion> = (new.iter().zip(outcomes))
        .map(|(new, outcome)| demand(new, Guard::NoRow, outcome))
        .collect();
    assert!(store.complete(&mail, &demands).await.unwrap().iter().all(applied));
    eventually!(store.rescue(3, 10).await.unwrap() == 1);
    let expected = [("not now", 2), ("never", 1), ("lease lost", 2)];
    for (new, (error, attempt)) in new.iter().zip(expected) {
        let work = by_code(&store, &new.work_code).await.unwrap();
        assert_eq!((work.error.as_deref(), work.attempt), (Some(error), attempt));
    }
}

pub async fn other_arguments_of_a_pending_row_are_superseded(store: AnyStore) {
    let [mail, ..] = kinds();
    let new = wanted(&mail, &json(r#"{"b":1,"a":2}"#));
    let work = create(&store, std::slice::from_ref(&new)).await.remove(0);
    for other in [r#"{"a":2,"b":1}"#, r#"{"b":1, "a":2}"#, r#"{"b":1.0,"a":2}"#, "null"] {
        let outcomes = [
            done(&json("1")),
            failed("never"),
            retry(AT_ONCE),
            Outcome::running(LEASE),
        ];
        for outcome in outcomes {
            let forged = Completion {
                args: Some(json(other)),
                ..demand(&new, pending_guard(1, 1), outcome)
            };
            assert_eq!(complete(&store, &mail, forged).await, Completed::Superseded, "{other}");
        }
    }
    assert_eq!(work_of(&store, work.id).await, work);
    assert_eq!(history(&store, work.id).await.len(), 1);
    assert!(letters(&store).await.is_empty());
    assert_eq!(claim(&store).await.len(), 1, "still due");
    let any = Completion {
        args: None,
        ..demand(&new, pending_guard(1, 1), done(&json("1")))
    };
    assert_eq!(complete(&store, &mail, any).await, Completed::Applied);
}

pub async fn a_claim_knows_its_own_start_and_no_other(store: AnyStore) {
    let [mail, report, _] = kinds();
    let with = |claim| Outcome::Running {
        lease: LEASE,
        claim,
        worker: None,
    };
    let existing = wanted(&mail, &json("[1]"));
    create(&store, std::slice::from_ref(&existing)).await;
    let inserted = wanted(&mail, &json("[2]"));
    // The same identity in another kind, with another claim.
    let beside = NewWork {
        kind: report.clone(),
        work_code: new_work_code(Origin::Api),
        ..inserted.clone()
    };
    complete(&store, &report, demand(&beside, Guard::NoRow, with(8))).await;
    for (new, guard) in [(&existing, pending_guard(1, 1)), (&inserted, Guard::NoRow)] {
        let started = Completed::Started(new.args.clone());
        for claim in [7, i64::MIN, i64::MAX] {
            let expected = match claim {
                7 => &started,
                _ => &Completed::Superseded,
            };
            for _ in 0..2 {
                let completed = complete(&store, &mail, demand(new, guard, with(claim))).await;
                assert_eq!(completed, *expected, "{guard:?} {claim}");
            }
        }
        assert_eq!(
            complete(&store, &mail, demand(new, guard, with(8))).await,
            Completed::Superseded,
            "another kind's claim"
        );
        let work = by_code(&store, &new.work_code).await.unwrap();
        assert_eq!(work.status, Status::Running);
        let starts = history(&store, work.id).await;
        let starts = starts
            .iter()
            .filter(|(variable, _)| *variable == Variable::ComputeStart);
        assert_eq!(starts.count(), 1);
        complete(&store, &mail, demand(new, running_guard(1, 1), done(&json("1")))).await;
        assert_eq!(
            complete(&store, &mail, demand(new, guard, with(7))).await,
            Completed::Superseded,
            "of a work that is done"
        );
    }
}
