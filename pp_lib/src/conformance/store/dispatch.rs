//! What is due, claimed, sent and taken back.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::HashSet;
use std::time::Duration;

use super::fixtures::{HOLD, claim, created, done, settle_one, settlement, work_of};
use crate::domain::WorkId;
use crate::store::AnyStore;

pub async fn claims_each_due_row_once_and_marks_it_sent(store: AnyStore) {
    let works = created(&store, &[1, 2, 3]).await;
    let first = store.claim(None, HOLD, 2).await.unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!((first[0].generation, first[0].attempt), (1, 1));
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
    let lost = store.claim(None, Duration::from_millis(20), 10).await.unwrap();
    eventually!(!store.claim(None, HOLD, 10).await.unwrap().is_empty());
    // The first dispatcher comes too late to say that its message is the one on its way.
    store.mark_sent(&lost).await.unwrap();
    let row = store.pending(&[lost[0].work_code.clone()]).await.unwrap().remove(0);
    assert!(row.due_at.0 > lost[0].due_at.0, "held by the second claim, not sent");
}

pub async fn claims_that_are_given_back_are_due_at_once(store: AnyStore) {
    created(&store, &[1, 2]).await;
    let claims = claim(&store).await;
    settle_one(
        &store,
        settlement(&claims[0], done(i64::from(claims[0].add_up_to.get()))),
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
                let claims = store.claim(None, HOLD, 7).await.unwrap();
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
    let within = async |range| store.claim(Some(range), HOLD, 1).await.unwrap().len();
    assert_eq!(within(Duration::ZERO).await, 0, "nothing fell due within no time");
    assert_eq!(within(Duration::from_secs(3600)).await, 1);
    assert_eq!(claim(&store).await.len(), 1, "whenever it fell due");
}

pub async fn sent_rows_are_released(store: AnyStore) {
    created(&store, &[1, 2, 3]).await;
    let claims = store.claim(None, HOLD, 2).await.unwrap();
    store.mark_sent(&claims[..1]).await.unwrap();
    assert_eq!(
        store.release_sent(Duration::from_secs(60)).await.unwrap(),
        0,
        "sent just now"
    );
    let released = store.release_sent(Duration::ZERO).await.unwrap();
    assert_eq!(
        released, 2,
        "the one that was sent and the one whose claim is still held"
    );
    assert_eq!(claim(&store).await.len(), 3);
}
