//! What is due, claimed, sent and taken back.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::HashSet;
use std::time::Duration;

use super::fixtures::{
    HOLD, LEASE, claim, complete_one, completion, created, done, history, letters, names, retry, running_guard, work_of,
};
use pp_lib::domain::{AddUpTo, KindName, Run, Status, Work, WorkId};
use pp_lib::store::{AnyStore, Claim, Completed, Completion, Outcome};

pub async fn claims_each_due_row_once_and_marks_it_sent(store: AnyStore) {
    let works = created(&store, &[1, 2, 3]).await;
    let first = store.claim(&[], None, HOLD, 2).await.unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!((first[0].run.generation, first[0].run.attempt), (1, 1));
    let second = claim(&store).await;
    let claimed: HashSet<WorkId> = first.iter().chain(&second).map(|claim| claim.id).collect();
    assert_eq!((second.len(), claimed.len()), (1, 3));
    store.mark_sent(&first).await.unwrap();
    store.mark_sent(&second).await.unwrap();
    assert!(claim(&store).await.is_empty());
    assert_eq!(
        work_of(&store, works[0].id).await,
        works[0],
        "being sent is nobody else's business"
    );
}

pub async fn a_claim_that_is_not_marked_runs_out(store: AnyStore) {
    created(&store, &[1]).await;
    let lost = store.claim(&[], None, Duration::from_millis(20), 10).await.unwrap();
    eventually!(!store.claim(&[], None, HOLD, 10).await.unwrap().is_empty());
    // The first dispatcher comes too late to say that its message is the one on its way.
    store.mark_sent(&lost).await.unwrap();
    let due = store.next_due(&[]).await.unwrap();
    assert!(
        due.is_some_and(|due| due > HOLD / 2),
        "held by the second claim, not sent: {due:?}"
    );
}

pub async fn claims_that_are_given_back_are_due_at_once(store: AnyStore) {
    created(&store, &[1, 2]).await;
    let claims = claim(&store).await;
    complete_one(
        &store,
        completion(
            &claims[0],
            done(i64::from(AddUpTo::of_args(&claims[0].args).unwrap().get())),
        ),
    )
    .await;
    store.give_back(&claims).await.unwrap();
    let again = claim(&store).await;
    assert_eq!((again.len(), again[0].id), (1, claims[1].id), "but not what moved on");
    store.give_back(&claims).await.unwrap();
    assert!(
        claim(&store).await.is_empty(),
        "nor what somebody else has claimed since"
    );
}

pub async fn concurrent_claims_share_the_rows(store: AnyStore) {
    created(&store, &(1..=200).collect::<Vec<i64>>()).await;
    let claimers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claims = store.claim(&[], None, HOLD, 7).await.unwrap();
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims.into_iter().map(|claim| claim.id));
            }
        })
    });
    let mut all = Vec::new();
    for claimer in claimers.collect::<Vec<_>>() {
        all.extend(claimer.await.unwrap());
    }
    assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (200, 200));
}

pub async fn the_time_range_bounds_only_the_fast_claim(store: AnyStore) {
    created(&store, &[1, 2]).await;
    let within = async |range| store.claim(&[], Some(range), HOLD, 1).await.unwrap().len();
    assert_eq!(within(Duration::ZERO).await, 0, "nothing fell due within no time");
    assert_eq!(within(Duration::from_secs(3600)).await, 1);
    assert_eq!(claim(&store).await.len(), 1, "whenever it fell due");
}

pub async fn sent_rows_are_released(store: AnyStore) {
    created(&store, &[1, 2, 3]).await;
    let claims = store.claim(&[], None, HOLD, 2).await.unwrap();
    store.mark_sent(&claims[..1]).await.unwrap();
    assert_eq!(
        store
            .release_sent(KindName::add_up_to(), Duration::from_secs(60))
            .await
            .unwrap(),
        0,
        "sent just now"
    );
    let released = store.release_sent(KindName::add_up_to(), Duration::ZERO).await.unwrap();
    assert_eq!(
        released, 2,
        "the one that was sent and the one whose claim is still held"
    );
    assert_eq!(claim(&store).await.len(), 3);
}

pub async fn the_next_moment_something_falls_due_is_known(store: AnyStore) {
    assert_eq!(store.next_due(&[]).await.unwrap(), None);
    created(&store, &[1]).await;
    assert_eq!(store.next_due(&[]).await.unwrap(), Some(Duration::ZERO), "due just now");
    let held = claim(&store).await.remove(0);
    let next = store.next_due(&[]).await.unwrap().unwrap();
    assert!(next <= HOLD && next > HOLD / 2, "the claim: {next:?}");
    let lease = HOLD / 10;
    let running_now = completion(&held, Outcome::running(lease));
    assert_eq!(
        complete_one(&store, running_now).await,
        Completed::Started(held.args.clone())
    );
    let next = store.next_due(&[]).await.unwrap().unwrap();
    assert!(next <= lease && next > lease / 2, "the lease: {next:?}");
    let finished = Completion {
        guard: running_guard(held.run.generation, held.run.attempt),
        ..completion(&held, done(1))
    };
    assert_eq!(complete_one(&store, finished).await, Completed::Applied);
    assert_eq!(store.next_due(&[]).await.unwrap(), None);
}

/// A work that was sent, and one that was claimed, beside one that nobody took.
async fn sent_claimed_and_waiting(store: &AnyStore) -> [WorkId; 3] {
    let works = created(store, &[1, 2, 3]).await;
    let claims = store.claim(&[], None, HOLD, 2).await.unwrap();
    store.mark_sent(&claims[..1]).await.unwrap();
    let waiting = works.iter().find(|work| claims.iter().all(|claim| claim.id != work.id));
    [claims[0].id, claims[1].id, waiting.unwrap().id]
}

pub async fn what_was_sent_is_lost_as_the_next_attempt(store: AnyStore) {
    let [sent, claimed, waiting] = sent_claimed_and_waiting(&store).await;
    let before = [work_of(&store, sent).await, work_of(&store, claimed).await];
    assert_eq!(store.lose_sent(5).await.unwrap(), 2);
    assert_eq!(store.lose_sent(5).await.unwrap(), 0, "those are not sent any more");
    let after = [work_of(&store, sent).await, work_of(&store, claimed).await];
    assert_eq!(after, before, "nothing that is shown");
    let claims = claim(&store).await;
    assert_eq!(claims.len(), 3);
    for claim in claims {
        let lost = i32::from(claim.id != waiting);
        assert_eq!((claim.run, claim.failures, claim.lost_leases), (Run::FIRST, 0, lost));
        assert_eq!(
            names(&history(&store, claim.id).await),
            ["work/created"],
            "an attempt that left no trace"
        );
    }
}

pub async fn what_is_lost_too_often_is_given_up(store: AnyStore) {
    let [sent, claimed, waiting] = sent_claimed_and_waiting(&store).await;
    assert_eq!(store.lose_sent(1).await.unwrap(), 2);
    let claims = claim(&store).await;
    let again: Vec<Claim> = claims.into_iter().filter(|claim| claim.id != claimed).collect();
    store.mark_sent(&again).await.unwrap();
    let held = store.by_ids(&[claimed]).await.unwrap();
    // All three were taken again; the two that were lost before are lost for good.
    assert_eq!(store.lose_sent(1).await.unwrap(), 3);
    for (id, letter) in [(claimed, &letters(&store).await[0]), (sent, &letters(&store).await[1])] {
        assert!([sent, claimed].contains(&letter.work_id.unwrap()));
        assert_eq!((letter.reason.as_str(), letter.attempts), ("lease lost", 1));
        let work = work_of(&store, id).await;
        assert_eq!((work.status, work.result), (Status::Failed, None));
        assert_eq!(work.version, held[0].version + 1);
        let events = history(&store, id).await;
        assert_eq!(names(&events), ["work/created", "compute/start", "compute/error"]);
        assert_eq!(events[2].1, "lease lost");
    }
    assert_eq!(letters(&store).await.len(), 2);
    let rest = claim(&store).await;
    assert_eq!((rest.len(), rest[0].id, rest[0].lost_leases), (1, waiting, 1));
}

pub async fn only_what_was_sent_is_lost(store: AnyStore) {
    let works = created(&store, &[1, 2, 3, 4]).await;
    let claims = claim(&store).await;
    let of = |work: &Work| claims.iter().find(|claim| claim.id == work.id).unwrap();
    let batch = [
        completion(of(&works[0]), done(1)),
        completion(of(&works[1]), Outcome::running(LEASE)),
        completion(of(&works[2]), retry(Duration::ZERO)),
        completion(of(&works[3]), retry(LEASE)),
    ];
    store.complete(KindName::add_up_to(), &batch).await.unwrap();
    assert_eq!(store.lose_sent(5).await.unwrap(), 0);
    let due = claim(&store).await;
    let counted = (due[0].id, due[0].run.attempt, due[0].failures, due[0].lost_leases);
    let expected = (1, (works[2].id, 2, 1, 0));
    assert_eq!((due.len(), counted), expected, "the other retry waits");
}

pub async fn what_failed_of_itself_and_was_lost_counts_apart(store: AnyStore) {
    created(&store, &[1]).await;
    let first = claim(&store).await.remove(0);
    complete_one(&store, completion(&first, retry(Duration::ZERO))).await;
    eventually!(!claim(&store).await.is_empty());
    store.lose_sent(5).await.unwrap();
    let again = claim(&store).await.remove(0);
    assert_eq!((again.run.attempt, again.failures, again.lost_leases), (2, 1, 1));
}
