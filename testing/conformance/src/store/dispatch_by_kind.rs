//! The outbox by kind: what is claimed and released of one kind leaves the others alone.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::HashSet;
use std::time::Duration;

use super::fixtures::{HOLD, claim, completion};
use super::kinds::{complete, create, done, json, kind, kinds, some, wanted};
use pp_lib::domain::KindName;
use pp_lib::store::{AnyStore, CLAIMED_BYTES, Claim, Completed, Outcome};

const AT_ONCE: Duration = Duration::ZERO;

pub async fn skipped_kinds_are_not_claimed_and_stay_due(store: AnyStore) {
    let [mail, report, sum] = kinds();
    let skipped = [mail.clone()];
    some(&store, &mail, 2).await;
    assert_eq!(store.next_due(&skipped).await.unwrap(), None);
    assert_eq!(store.next_due(&[]).await.unwrap(), Some(AT_ONCE));
    assert!(store.claim(&skipped, None, HOLD, 10).await.unwrap().is_empty());
    some(&store, &report, 1).await;
    some(&store, &sum, 1).await;
    let rest = store.claim(&skipped, None, HOLD, 10).await.unwrap();
    let rest: HashSet<&KindName> = rest.iter().map(|claim| &claim.kind).collect();
    assert_eq!(rest, HashSet::from([&report, &sum]));
    let held = store.next_due(&skipped).await.unwrap().unwrap();
    assert!(held > HOLD / 2, "the claims of the others: {held:?}");
    assert_eq!(store.next_due(&[mail.clone(), report, sum]).await.unwrap(), None);

    let due = store.claim(&[], None, HOLD, 10).await.unwrap();
    assert_eq!(due.len(), 2, "what was skipped stayed due");
    assert!(due.iter().all(|claim| claim.kind == mail));
    // A lease is waited for, whatever is not sent at the moment.
    complete(&store, &mail, completion(&due[0], Outcome::running(HOLD / 10))).await;
    let lease = store.next_due(&skipped).await.unwrap().unwrap();
    assert!(lease <= HOLD / 10 && lease > AT_ONCE, "{lease:?}");
}

pub async fn the_oldest_due_row_of_each_kind_is_known(store: AnyStore) {
    let [mail, report, sum] = kinds();
    assert_eq!(store.oldest_due().await.unwrap(), []);
    some(&store, &mail, 2).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    some(&store, &report, 1).await;
    some(&store, &sum, 1).await;
    let oldest = store.oldest_due().await.unwrap();
    let waited = |kind: &KindName| oldest.iter().find(|(of, _)| of == kind).map(|(_, waited)| *waited);
    let (of_mail, of_report) = (waited(&mail).unwrap(), waited(&report).unwrap());
    assert!(of_mail >= Duration::from_millis(25), "{oldest:?}");
    assert!(of_report < of_mail, "{oldest:?}");
    assert_eq!(oldest.len(), 3, "{oldest:?}");

    // What is claimed or sent waits no more.
    let claims = store
        .claim(&[report.clone(), sum.clone()], None, HOLD, 10)
        .await
        .unwrap();
    let oldest = store.oldest_due().await.unwrap();
    assert!(
        oldest.len() == 2 && oldest.iter().all(|(kind, _)| *kind != mail),
        "{oldest:?}"
    );
    store.give_back(&claims).await.unwrap();
    assert_eq!(store.oldest_due().await.unwrap().len(), 3);
    store
        .set_overrides(
            &pp_lib::domain::Principal::Service,
            &mail,
            &json(r#"{"paused":true}"#),
            None,
        )
        .await
        .unwrap();
    let oldest = store.oldest_due().await.unwrap();
    assert!(oldest.iter().all(|(kind, _)| *kind != mail), "it is paused: {oldest:?}");
}

pub async fn a_flood_of_one_kind_keeps_no_other_out(store: AnyStore) {
    let [mail, report, _] = kinds();
    for _ in 0..4 {
        some(&store, &mail, 500).await;
    }
    let one = some(&store, &report, 1).await.remove(0);
    let claims = store.claim(&[], None, HOLD, 10).await.unwrap();
    let (of_report, of_mail): (Vec<&Claim>, Vec<&Claim>) = claims.iter().partition(|claim| claim.kind == report);
    assert_eq!((of_report.len(), of_report[0].id, of_mail.len()), (1, one.id, 10));
    // Nor the one that comes first by its name.
    let first = some(&store, &kind("a"), 1).await.remove(0);
    let claims = store.claim(&[], None, HOLD, 10).await.unwrap();
    assert_eq!(claims.len(), 11);
    assert!(claims.iter().any(|claim| claim.id == first.id));
}

pub async fn one_claim_is_bounded_by_the_bytes_of_its_arguments(store: AnyStore) {
    const BYTES: usize = 60 << 10;
    const WORKS: usize = 200;
    let [mail, report, _] = kinds();
    let large = json(&format!("\"{}\"", "x".repeat(BYTES - 2)));
    for _ in 0..4 {
        let new = [(); WORKS / 4].map(|()| wanted(&mail, &large));
        create(&store, &new).await;
    }
    some(&store, &report, 1).await;
    let most = usize::try_from(CLAIMED_BYTES).unwrap().div_ceil(BYTES);
    let mut claimed = Vec::new();
    let mut ids = HashSet::new();
    loop {
        let claims = store.claim(&[], None, HOLD, 1000).await.unwrap();
        if claims.is_empty() {
            break;
        }
        ids.extend(claims.iter().map(|claim| claim.id));
        claimed.push(claims.iter().filter(|claim| claim.kind == mail).count());
    }
    assert_eq!(claimed, [most, WORKS - most]);
    assert_eq!(ids.len(), WORKS + 1, "and the other kind's");
}

pub async fn sent_rows_are_released_by_kind(store: AnyStore) {
    let [mail, report, sum] = kinds();
    assert!(store.pending_kinds().await.unwrap().is_empty());
    some(&store, &report, 2).await;
    some(&store, &mail, 3).await;
    some(&store, &sum, 1).await;
    let pending = async || {
        let kinds = store.pending_kinds().await.unwrap();
        let distinct: HashSet<KindName> = kinds.iter().cloned().collect();
        assert_eq!(distinct.len(), kinds.len(), "each once");
        distinct
    };
    let all = HashSet::from(kinds());
    assert_eq!(pending().await, all);
    let claims = claim(&store).await;
    store.mark_sent(&claims).await.unwrap();
    assert_eq!(pending().await, all, "what was sent is pending");
    assert_eq!(store.release_sent(&kind("unheard_of"), AT_ONCE).await.unwrap(), 0);
    assert_eq!(store.release_sent(&mail, AT_ONCE).await.unwrap(), 3);
    assert_eq!(store.release_sent(&mail, AT_ONCE).await.unwrap(), 0, "none is sent now");
    let again = claim(&store).await;
    assert_eq!(again.len(), 3);
    for claim in &again {
        assert_eq!(claim.kind, mail);
        let ended = completion(claim, done(&json("1")));
        assert_eq!(complete(&store, &mail, ended).await, Completed::Applied);
    }
    assert_eq!(pending().await, HashSet::from([report.clone(), sum]));
    assert_eq!(store.release_sent(&report, AT_ONCE).await.unwrap(), 2);
}
