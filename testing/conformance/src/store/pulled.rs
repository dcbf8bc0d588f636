//! Runs of workers outside: claimed from the store, extended, told apart when they are over; and who works on what.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::HashSet;
use std::time::Duration;

use super::fixtures::{HOLD, LEASE, applied, claim, completion, failed, history, letters, names, now, retry, work_of};
use super::kinds::{complete, done, json, kind, wanted};
use pp_lib::domain::{DeadLetterId, Json, KindName, Principal, Progress, Run, Status, Work, WorkId, WorkerName};
use pp_lib::store::{
    AnyStore, CLAIMED_BYTES, ClaimedRun, Completed, Completion, Extension, Guard, HeldRun, NewWork, Outcome, Place,
    RunState, Selection,
};

const AT_ONCE: Duration = Duration::ZERO;

async fn declared(store: &AnyStore, name: &str, declaration: &str) -> KindName {
    let name = kind(name);
    store
        .declare(&Principal::Open, &name, &json(declaration))
        .await
        .unwrap()
        .unwrap();
    name
}

async fn pulled(store: &AnyStore) -> KindName {
    declared(store, "resize", r#"{"delivery":"pull"}"#).await
}

async fn created(store: &AnyStore, kind: &KindName, count: usize) -> Vec<Work> {
    let new: Vec<NewWork> = (0..count).map(|_| wanted(kind, &json("[7]"))).collect();
    let works = store.create(&new).await.unwrap();
    works.into_iter().map(|created| created.unwrap().work).collect()
}

fn worker(name: &str) -> WorkerName {
    name.parse().unwrap()
}

fn places(name: &str, lease: Duration, count: usize) -> Vec<Place> {
    let place = |_| Place {
        worker: worker(name),
        lease,
        claim: rand::random(),
    };
    (0..count).map(place).collect()
}

async fn one(store: &AnyStore, kind: &KindName, lease: Duration) -> ClaimedRun {
    let mut runs = Vec::new();
    eventually!({
        let places = places("py-1", lease, 1);
        runs.extend(store.claim_runs(std::slice::from_ref(kind), &places).await.unwrap());
        !runs.is_empty()
    });
    runs.remove(0)
}

fn held(run: &ClaimedRun) -> HeldRun {
    HeldRun {
        id: run.id,
        kind: run.kind.clone(),
        run: run.run,
        claim: run.claim,
    }
}

fn ended(run: &ClaimedRun, outcome: Outcome) -> Completion {
    Completion {
        message_id: run.message_id.clone(),
        work_code: run.work_code.clone(),
        args: None,
        guard: Guard::Claimed(run.run, run.claim),
        outcome,
    }
}

async fn state(store: &AnyStore, run: &ClaimedRun) -> RunState {
    store.run_states(&[held(run)]).await.unwrap().remove(0)
}

fn extension(run: &ClaimedRun, lease: Duration, ends_on: i64) -> Extension {
    Extension {
        held: held(run),
        lease,
        ends_on,
    }
}

pub async fn pulled_works_are_claimed_by_workers_and_never_sent(store: AnyStore) {
    let resize = pulled(&store).await;
    let works = created(&store, &resize, 2).await;
    assert_eq!(claim(&store).await, [], "nothing is sent");
    assert_eq!(store.next_due(&[]).await.unwrap(), None);
    assert_eq!(store.pending_kinds().await.unwrap(), []);
    assert_eq!(store.oldest_due().await.unwrap().len(), 1, "it waits for a worker");
    assert_eq!(
        store.until_due(&[resize.clone(), kind("other")]).await.unwrap(),
        [(resize.clone(), AT_ONCE)]
    );

    let begun = now();
    let runs = store
        .claim_runs(&[kind("other"), resize.clone()], &places("py-1", LEASE, 5))
        .await
        .unwrap();
    assert_eq!(runs.len(), 2);
    for run in &runs {
        let work = works.iter().find(|work| work.id == run.id).unwrap();
        assert_eq!(
            (&run.kind, &run.work_code, &run.args),
            (&resize, &work.work_code, &work.args)
        );
        assert_eq!(run.run, Run::FIRST);
        let lease = i64::try_from(LEASE.as_secs()).unwrap();
        assert!((begun - 1..=begun + 5).contains(&run.began_on), "{run:?}");
        assert!(
            (run.began_on + lease - 1..=run.began_on + lease + 1).contains(&run.lease_until),
            "{run:?}"
        );
        let now = work_of(&store, run.id).await;
        assert_eq!((now.status, now.version), (Status::Running, work.version + 1));
        assert_eq!(names(&history(&store, run.id).await), ["work/created", "compute/start"]);
    }
    assert_eq!(store.until_due(std::slice::from_ref(&resize)).await.unwrap(), []);

    let result = json(r#"{"width":1.10}"#);
    assert!(applied(
        &complete(&store, &resize, ended(&runs[0], done(&result))).await
    ));
    let work = work_of(&store, runs[0].id).await;
    assert_eq!((work.status, work.result), (Status::Done, Some(result)));
    let told = ["work/created", "compute/start", "compute/stop", "compute/result"];
    assert_eq!(names(&history(&store, runs[0].id).await), told);
}

pub async fn workers_share_due_works_and_claim_each_once(store: AnyStore) {
    let resize = pulled(&store).await;
    created(&store, &resize, 60).await;
    let claims = (0..12).map(|worker| {
        let (store, resize) = (store.clone(), resize.clone());
        tokio::spawn(async move {
            let places = places(&format!("py-{worker}"), LEASE, 5);
            store.claim_runs(&[resize], &places).await.unwrap()
        })
    });
    let claims: Vec<_> = claims.collect();
    let mut taken: Vec<WorkId> = Vec::new();
    for claim in claims {
        let runs = claim.await.unwrap();
        assert!(runs.len() <= 5);
        taken.extend(runs.iter().map(|run| run.id));
    }
    // Rows that others held for a moment are left.
    taken.extend(
        store
            .claim_runs(&[resize], &places("last", LEASE, 60))
            .await
            .unwrap()
            .iter()
            .map(|run| run.id),
    );
    let distinct: HashSet<WorkId> = taken.iter().copied().collect();
    assert_eq!((taken.len(), distinct.len()), (60, 60));
}

pub async fn a_run_is_ended_by_its_claim_and_no_other(store: AnyStore) {
    let resize = pulled(&store).await;
    created(&store, &resize, 1).await;
    let run = one(&store, &resize, LEASE).await;
    let guessed = ClaimedRun {
        claim: run.claim.wrapping_add(1),
        ..run.clone()
    };
    let other_kind = declared(&store, "other", r#"{"delivery":"pull"}"#).await;
    assert_eq!(
        complete(&store, &resize, ended(&guessed, failed("not mine"))).await,
        Completed::Superseded
    );
    assert_eq!(
        complete(&store, &other_kind, ended(&run, failed("not mine"))).await,
        Completed::Superseded
    );
    let ends_on = now() + 60;
    assert_eq!(
        store.extend_runs(&[extension(&guessed, LEASE, ends_on)]).await.unwrap(),
        [None]
    );
    let elsewhere = HeldRun {
        kind: other_kind,
        ..held(&run)
    };
    assert_eq!(store.run_states(&[elsewhere]).await.unwrap(), []);

    // A worker that comes late has no say in the next attempt.
    assert!(applied(&complete(&store, &resize, ended(&run, retry(AT_ONCE))).await));
    let second = one(&store, &resize, LEASE).await;
    assert_eq!(
        second.run,
        Run {
            attempt: 2,
            ..Run::FIRST
        }
    );
    for late in [done(&json("1")), failed("late"), retry(AT_ONCE)] {
        assert_eq!(
            complete(&store, &resize, ended(&run, late)).await,
            Completed::Superseded
        );
    }
    let both = [extension(&run, LEASE, ends_on), extension(&second, LEASE, ends_on)];
    let extended = store.extend_runs(&both).await.unwrap();
    assert!(extended[0].is_none() && extended[1].is_some(), "{extended:?}");
    assert!(applied(
        &complete(&store, &resize, ended(&second, done(&json("2")))).await
    ));
}

pub async fn the_state_tells_why_a_run_is_over(store: AnyStore) {
    let resize = pulled(&store).await;
    let works = created(&store, &resize, 1).await;
    let id = works[0].id;

    // Its own end is recognized: the claim stays.
    let failing = one(&store, &resize, LEASE).await;
    complete(&store, &resize, ended(&failing, retry(AT_ONCE))).await;
    let after = state(&store, &failing).await;
    assert_eq!(
        (after.status, after.run.attempt, after.failures),
        (Status::Pending, 2, 1)
    );
    assert_eq!((after.claim, after.was_lost), (Some(failing.claim), false));

    // A lease that ran out leaves no claim.
    let silent = one(&store, &resize, Duration::from_millis(1)).await;
    eventually!(store.rescue(20, 10).await.unwrap() == 1);
    let after = state(&store, &silent).await;
    assert_eq!(
        (after.status, after.run.attempt, after.claim),
        (Status::Pending, 3, None)
    );
    assert!(after.was_lost && !state(&store, &failing).await.was_lost);

    let by = &Principal::Open;
    let updated = one(&store, &resize, LEASE).await;
    assert_eq!(state(&store, &updated).await.claim, Some(updated.claim));
    store.update(by, id, &json("[8]"), None, AT_ONCE).await.unwrap();
    let after = state(&store, &updated).await;
    assert_eq!(
        (after.run.generation, after.claim, after.was_redriven),
        (2, None, false)
    );

    let cancelled = one(&store, &resize, LEASE).await;
    store.cancel(by, id, None).await.unwrap();
    let after = state(&store, &cancelled).await;
    assert_eq!((after.status, after.claim), (Status::Cancelled, None));
    store.retry(by, id, None).await.unwrap();
    assert!(state(&store, &cancelled).await.was_redriven);

    let failed_run = one(&store, &resize, LEASE).await;
    complete(&store, &resize, ended(&failed_run, failed("for good"))).await;
    let after = state(&store, &failed_run).await;
    assert_eq!((after.status, after.claim), (Status::Failed, Some(failed_run.claim)));
    assert_eq!(
        store
            .redrive(by, &Selection::Ids(letter_ids(&store).await))
            .await
            .unwrap(),
        1
    );
    assert!(state(&store, &failed_run).await.was_redriven);

    let last = one(&store, &resize, LEASE).await;
    store.delete(by, id, None).await.unwrap();
    assert!(state(&store, &last).await.is_deleted);
}

async fn letter_ids(store: &AnyStore) -> Vec<DeadLetterId> {
    letters(store).await.iter().map(|letter| letter.id).collect()
}

pub async fn a_claimed_lease_is_extended_until_its_time_is_over(store: AnyStore) {
    let resize = pulled(&store).await;
    created(&store, &resize, 1).await;
    let run = one(&store, &resize, Duration::from_millis(1)).await;
    // Nobody has taken it away yet.
    let extended = store
        .extend_runs(&[extension(&run, LEASE, run.began_on + 3600)])
        .await
        .unwrap();
    let lease = i64::try_from(LEASE.as_secs()).unwrap();
    let until = extended[0].unwrap();
    assert!((now() + lease - 2..=now() + lease + 2).contains(&until), "{until}");
    assert_eq!(store.rescue(20, 10).await.unwrap(), 0);
    let shorter = store.extend_runs(&[extension(&run, LEASE, now() + 5)]).await.unwrap();
    assert!(shorter[0].unwrap() <= now() + 5, "no lease beyond the end");
    let over = store
        .extend_runs(&[extension(&run, LEASE, run.began_on - 10)])
        .await
        .unwrap();
    assert!(over[0].unwrap() <= now() + 1, "{over:?}");
    eventually!(store.rescue(20, 10).await.unwrap() == 1);
    assert_eq!(
        store.extend_runs(&[extension(&run, LEASE, now() + 60)]).await.unwrap(),
        [None]
    );
}

pub async fn progress_of_a_claim_is_shown_while_it_holds(store: AnyStore) {
    let resize = pulled(&store).await;
    created(&store, &resize, 1).await;
    let run = one(&store, &resize, LEASE).await;
    let half = Progress::new(50, "half");
    store.tell_progress(&[(held(&run), half.clone())]).await.unwrap();
    assert_eq!(work_of(&store, run.id).await.progress, Some(half.clone()));
    complete(&store, &resize, ended(&run, retry(AT_ONCE))).await;
    let before = history(&store, run.id).await.len();
    store.tell_progress(&[(held(&run), half)]).await.unwrap();
    assert_eq!(history(&store, run.id).await.len(), before, "it is over");
    let second = one(&store, &resize, LEASE).await;
    assert_eq!(work_of(&store, second.id).await.progress, None);
}

pub async fn paused_kinds_are_not_claimed_and_run_at_is_kept(store: AnyStore) {
    let paused = declared(&store, "paused", r#"{"delivery":"pull","policy":{"paused":true}}"#).await;
    created(&store, &paused, 1).await;
    assert_eq!(
        store
            .claim_runs(std::slice::from_ref(&paused), &places("w", LEASE, 1))
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.until_due(std::slice::from_ref(&paused)).await.unwrap(), []);
    store
        .set_overrides(&Principal::Open, &paused, &json(r#"{"paused":false}"#), None)
        .await
        .unwrap();
    assert_eq!(store.until_due(std::slice::from_ref(&paused)).await.unwrap().len(), 1);

    let resize = pulled(&store).await;
    let later = NewWork {
        run_at: Some(now() + 100),
        ..wanted(&resize, &json("1"))
    };
    store.create(&[later]).await.unwrap();
    assert_eq!(
        store
            .claim_runs(std::slice::from_ref(&resize), &places("w", LEASE, 1))
            .await
            .unwrap(),
        []
    );
    let due = store.until_due(std::slice::from_ref(&resize)).await.unwrap();
    assert!(due[0].1 > Duration::from_secs(90), "{due:?}");
}

pub async fn one_call_of_workers_is_bounded_by_bytes(store: AnyStore) {
    let resize = pulled(&store).await;
    let large = Json::parse(format!("\"{}\"", "x".repeat(60_000)).as_bytes(), Json::USUAL_LIMIT).unwrap();
    let count = usize::try_from(CLAIMED_BYTES).unwrap() / 60_000 + 20;
    for _ in 0..count {
        store.create(&[wanted(&resize, &large)]).await.unwrap();
    }
    let first = store
        .claim_runs(std::slice::from_ref(&resize), &places("w", LEASE, count))
        .await
        .unwrap();
    assert!(
        first.len() < count && first.len() > count / 2,
        "{} of {count}",
        first.len()
    );
    let rest = store.claim_runs(&[resize], &places("w", LEASE, count)).await.unwrap();
    assert_eq!(first.len() + rest.len(), count);
}

pub async fn works_of_workers_outside_are_not_lost_with_the_consumers(store: AnyStore) {
    let resize = pulled(&store).await;
    created(&store, &resize, 1).await;
    let outside = one(&store, &resize, LEASE).await;
    let mail = declared(&store, "mail", "{}").await;
    let works = created(&store, &mail, 2).await;
    let sent = store.claim(&[], None, HOLD, 10).await.unwrap();
    let own = WorkerName::of_consumer("host", "1");
    for (claim, worker) in sent.iter().zip([None, Some(own.clone())]) {
        let running = Outcome::running_at(LEASE, worker);
        assert!(applied(&complete(&store, &mail, completion(claim, running)).await));
    }
    let running = store.running_works(10).await.unwrap();
    let mut workers: Vec<Option<&str>> = running
        .iter()
        .map(|one| one.worker.as_ref().map(WorkerName::as_str))
        .collect();
    workers.sort_unstable();
    assert_eq!(workers, [None, Some(own.as_str()), Some("py-1")]);
    let shown = running.iter().find(|one| one.work.id == outside.id).unwrap();
    assert_eq!(
        (shown.since, shown.lease_until),
        (outside.began_on, outside.lease_until)
    );
    assert!(shown.heard_on >= shown.since);

    assert_eq!(store.lose_running(20).await.unwrap(), 2);
    assert_eq!(work_of(&store, outside.id).await.status, Status::Running);
    for work in works {
        assert_eq!(work_of(&store, work.id).await.status, Status::Pending);
    }
    assert!(applied(
        &complete(&store, &resize, ended(&outside, done(&json("1")))).await
    ));
    assert_eq!(store.running_works(10).await.unwrap(), []);
}

pub async fn a_kind_that_is_pulled_from_now_on_gives_back_what_was_sent(store: AnyStore) {
    let mail = declared(&store, "mail", "{}").await;
    created(&store, &mail, 2).await;
    let sent = store.claim(&[], None, HOLD, 10).await.unwrap();
    store.mark_sent(&sent).await.unwrap();
    declared(&store, "mail", r#"{"delivery":"pull"}"#).await;
    assert_eq!(
        store
            .claim_runs(std::slice::from_ref(&mail), &places("w", LEASE, 9))
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.release_sent(&mail, AT_ONCE).await.unwrap(), 2);
    let runs = store
        .claim_runs(std::slice::from_ref(&mail), &places("w", LEASE, 9))
        .await
        .unwrap();
    assert_eq!(runs.len(), 2);
    // The message that was sent before finds its row running.
    assert_eq!(
        complete(&store, &mail, completion(&sent[0], done(&json("1")))).await,
        Completed::Superseded
    );
    // And the other way round: what is due is sent.
    declared(&store, "mail", "{}").await;
    complete(&store, &mail, ended(&runs[0], retry(AT_ONCE))).await;
    eventually!(store.claim(&[], None, HOLD, 10).await.unwrap().len() == 1);
}

pub async fn workers_that_were_heard_of_are_listed(store: AnyStore) {
    let (resize, mail) = (kind("resize"), kind("mail"));
    let [one, two] = ["py-1", "py-2"].map(worker);
    let both = [
        (two.clone(), vec![resize.clone()]),
        (one.clone(), vec![resize.clone(), mail.clone()]),
    ];
    store.workers_heard(&both).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.workers_heard(&[(two.clone(), vec![mail.clone()])]).await.unwrap();
    let workers = store.workers(10).await.unwrap();
    let shown: Vec<_> = workers
        .iter()
        .map(|row| (&row.name, row.kinds.clone(), row.is_there))
        .collect();
    assert_eq!(
        shown,
        [(&two, vec![mail.clone()], true), (&one, vec![resize, mail], true)]
    );
    assert!(
        workers
            .iter()
            .all(|row| row.since <= row.seen_on && row.seen_on >= now() - 5)
    );
    assert_eq!(store.workers(1).await.unwrap().len(), 1);
}
