//! Runs that end without a result and without a failure, and runs that tell how far they are.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{
    LEASE, claim, complete_one, completion, created, done, history, letters, names, retry, running, without_row,
    work_of,
};
use pp_lib::domain::{KindName, Progress, Status, Variable, Work};
use pp_lib::store::{AnyStore, Claim, Completed, Outcome, RunningAttempt};

const SHORT: Duration = Duration::from_millis(20);

fn run_of(claim: &Claim) -> RunningAttempt {
    RunningAttempt {
        message_id: claim.message_id.clone(),
        run: claim.run,
    }
}

async fn started(store: &AnyStore) -> Claim {
    let claim = claim(store).await.remove(0);
    let start = completion(&claim, Outcome::running(LEASE));
    assert_eq!(complete_one(store, start).await, Completed::Started(claim.args.clone()));
    claim
}

async fn report(store: &AnyStore, reports: &[(&Claim, u8, &str)]) -> u64 {
    let reports: Vec<_> = reports
        .iter()
        .map(|(claim, percent, note)| (run_of(claim), Progress::new(*percent, *note)))
        .collect();
    store.report_progress(KindName::add_up_to(), &reports).await.unwrap()
}

pub async fn a_snoozed_work_runs_again_and_counts_no_failure(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let first = started(&store).await;
    let snoozed = running(&first, Outcome::Snoozed { delay: SHORT });
    assert_eq!(complete_one(&store, snoozed.clone()).await, Completed::Applied);
    assert_eq!(complete_one(&store, snoozed).await, Completed::Superseded);
    let waiting = work_of(&store, work.id).await;
    assert_eq!(
        (waiting.status, waiting.error, waiting.attempt),
        (Status::Pending, None, 2)
    );
    let mut again = Vec::new();
    eventually!({
        again.extend(claim(&store).await);
        !again.is_empty()
    });
    assert_eq!((again[0].failures, again[0].run.attempt), (0, 2));
    let long = Outcome::Snoozed {
        delay: Duration::from_secs(300),
    };
    assert_eq!(
        complete_one(&store, completion(&again[0], long)).await,
        Completed::Applied
    );
    assert!(claim(&store).await.is_empty(), "it is not due yet");
    let events = history(&store, work.id).await;
    assert_eq!(
        names(&events),
        [
            "work/created",
            "compute/start",
            "compute/snoozed",
            "compute/start",
            "compute/snoozed"
        ]
    );
    assert_eq!((events[2].1.as_str(), events[4].1.as_str()), ("0", "300"));
}

pub async fn a_snooze_and_a_cancellation_without_a_row_make_one(store: AnyStore) {
    let delay = Duration::from_secs(60);
    let cancelled = Outcome::Cancelled {
        reason: "not wanted".to_owned(),
    };
    let demands = [
        without_row(3, Outcome::Snoozed { delay }),
        without_row(4, cancelled),
        without_row(5, done(5)),
    ];
    let completed = store.complete(KindName::add_up_to(), &demands).await.unwrap();
    assert_eq!(completed, [Completed::Applied, Completed::Applied, Completed::Applied]);
    let codes = demands.map(|demand| demand.work_code);
    let mut works = store.by_codes(&codes).await.unwrap();
    works.sort_by_key(|work| work.add_up_to());
    let shown = |work: &Work| (work.status, work.attempt, work.error.clone());
    assert_eq!(
        works.iter().map(shown).collect::<Vec<_>>(),
        [
            (Status::Pending, 2, None),
            (Status::Cancelled, 1, Some("not wanted".to_owned())),
            (Status::Done, 1, None),
        ]
    );
    assert_eq!(
        history(&store, works[0].id).await[1..],
        [(Variable::ComputeSnoozed, "60".to_owned())]
    );
    assert!(letters(&store).await.is_empty());
}

pub async fn a_handler_that_cancels_ends_its_work(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let run = started(&store).await;
    let reason = "nobody wants it".to_owned();
    let cancelled = running(&run, Outcome::Cancelled { reason: reason.clone() });
    assert_eq!(complete_one(&store, cancelled).await, Completed::Applied);
    let after = work_of(&store, work.id).await;
    assert_eq!((after.status, after.error), (Status::Cancelled, Some(reason.clone())));
    assert!(letters(&store).await.is_empty() && claim(&store).await.is_empty());
    assert_eq!(
        history(&store, work.id).await[1..],
        [
            (Variable::ComputeStart, String::new()),
            (Variable::WorkCancelled, reason)
        ]
    );
}

pub async fn progress_is_shown_while_its_run_is_running(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    let run = started(&store).await;
    let version = work_of(&store, work.id).await.version;
    assert_eq!(report(&store, &[(&run, 40, "half \u{1f9fe}")]).await, 1);
    let shown = work_of(&store, work.id).await;
    assert_eq!(shown.progress, Some(Progress::new(40, "half \u{1f9fe}")));
    assert_eq!(shown.version, version + 1);
    assert_eq!(report(&store, &[(&run, 200, "")]).await, 1);
    assert_eq!(work_of(&store, work.id).await.progress, Some(Progress::new(100, "")));

    assert_eq!(
        complete_one(&store, running(&run, retry(SHORT))).await,
        Completed::Applied
    );
    assert_eq!(work_of(&store, work.id).await.progress, None);
    assert_eq!(report(&store, &[(&run, 50, "late")]).await, 0, "the run is over");
    let mut again = Vec::new();
    eventually!({
        again.extend(claim(&store).await);
        !again.is_empty()
    });
    let start = completion(&again[0], Outcome::running(LEASE));
    complete_one(&store, start).await;
    assert_eq!(
        work_of(&store, work.id).await.progress,
        None,
        "another run begins at nothing"
    );
    assert_eq!(report(&store, &[(&run, 50, "late"), (&again[0], 10, "")]).await, 1);
    store
        .hand_back(KindName::add_up_to(), &[run_of(&again[0])])
        .await
        .unwrap();
    assert_eq!(work_of(&store, work.id).await.progress, None);
    let told: Vec<String> = history(&store, work.id)
        .await
        .into_iter()
        .filter(|(variable, _)| *variable == Variable::ComputeProgress)
        .map(|(_, value)| value)
        .collect();
    assert_eq!(told, ["40 half \u{1f9fe}", "100", "10"]);
}
