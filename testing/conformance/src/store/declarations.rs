//! Kinds: declarations, settings of an operator, workers that are heard of, and what is sent.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::time::Duration;

use super::fixtures::{HOLD, new_work};
use pp_lib::domain::{Json, KindName, Origin, Principal, WorkId};
use pp_lib::runtime::new_message_id;
use pp_lib::store::{AnyStore, Changed, KindRow, MOST_KINDS, NewWork, RetentionTimes};

fn kind(name: &str) -> KindName {
    name.parse().unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), Json::USUAL_LIMIT).unwrap()
}

fn work_of(kind: &KindName) -> NewWork {
    NewWork {
        kind: kind.clone(),
        message_id: new_message_id(),
        ..new_work(Origin::Api, 3)
    }
}

async fn declared(store: &AnyStore, kind: &KindName, declaration: &str) -> KindRow {
    store
        .declare(&Principal::Open, kind, &json(declaration))
        .await
        .unwrap()
        .unwrap()
}

async fn row(store: &AnyStore, kind: &KindName) -> Option<KindRow> {
    store.kinds().await.unwrap().into_iter().find(|row| row.name == *kind)
}

async fn claimed(store: &AnyStore) -> Vec<WorkId> {
    let claims = store.claim(&[], None, HOLD, 10).await.unwrap();
    claims.into_iter().map(|claim| claim.id).collect()
}

pub async fn the_newest_declaration_counts_and_the_one_before_is_kept(store: AnyStore) {
    let mail = kind("user.mail");
    let revision = store.kinds_revision().await.unwrap();
    let first = declared(&store, &mail, r#"{"policy":{"places":1}}"#).await;
    assert_eq!((first.version, &first.replaced), (1, &None));
    assert_ne!(store.kinds_revision().await.unwrap(), revision);
    let again = declared(&store, &mail, r#"{"policy":{"places":1}}"#).await;
    assert_eq!(again, first, "the same declaration changes nothing");
    let second = declared(&store, &mail, r#"{"policy":{"places":2}}"#).await;
    assert_eq!(second.declared.unwrap().0, json(r#"{"policy":{"places":2}}"#));
    assert_eq!(second.replaced.unwrap().0, json(r#"{"policy":{"places":1}}"#));
    assert_eq!(second.version, 2);
}

pub async fn settings_of_an_operator_stay_when_a_program_declares_again(store: AnyStore) {
    let mail = kind("user.mail");
    let row_before = declared(&store, &mail, "{}").await;
    let settings = json(r#"{"paused":true, "places":3}"#);
    let set = store
        .set_overrides(&Principal::Open, &mail, &settings, Some(row_before.version))
        .await
        .unwrap();
    assert!(
        matches!(&set, Changed::Applied(row) if row.overrides == settings && row.version == 2),
        "{set:?}"
    );
    assert_eq!(
        store
            .set_overrides(&Principal::Open, &mail, &json("{}"), Some(1))
            .await
            .unwrap(),
        Changed::OtherVersion
    );
    assert_eq!(
        store
            .set_overrides(&Principal::Open, &kind("nobody"), &json("{}"), None)
            .await
            .unwrap(),
        Changed::Missing
    );
    let again = declared(&store, &mail, r#"{"policy":{"places":9}}"#).await;
    assert_eq!((again.overrides, again.version), (settings, 3));
}

pub async fn works_of_undeclared_and_paused_kinds_wait_and_the_others_are_sent(store: AnyStore) {
    let (mail, report) = (kind("user.mail"), kind("report"));
    let wanted = [work_of(&mail), work_of(&report), work_of(&KindName::default())];
    let works = store.create(&wanted).await.unwrap();
    let [mailed, reported, summed] = works.iter().map(|work| work.as_ref().unwrap().id).collect::<Vec<_>>()[..] else {
        panic!("{works:?}")
    };
    let kinds = store.kinds().await.unwrap();
    let names: Vec<(&str, bool)> = kinds
        .iter()
        .map(|row| (row.name.as_str(), row.declared.is_some()))
        .collect();
    assert_eq!(names, [("add_up_to", false), ("report", false), ("user.mail", false)]);
    assert_eq!(claimed(&store).await, [summed]);
    assert_eq!(store.next_due(&[]).await.unwrap().map(|due| due > HOLD / 2), Some(true));

    declared(&store, &mail, r#"{"policy":{"paused":true}}"#).await;
    declared(&store, &report, "{}").await;
    assert_eq!(claimed(&store).await, [reported]);
    store
        .set_overrides(&Principal::Open, &mail, &json(r#"{"paused":false}"#), None)
        .await
        .unwrap();
    assert_eq!(store.next_due(&[]).await.unwrap(), Some(Duration::ZERO));
    assert_eq!(claimed(&store).await, [mailed]);
}

pub async fn the_sum_is_paused_and_resumed_like_any_kind(store: AnyStore) {
    let sum = KindName::default();
    let work = store.create(&[work_of(&sum)]).await.unwrap()[0].as_ref().unwrap().id;
    store
        .set_overrides(&Principal::Open, &sum, &json(r#"{"paused":true}"#), None)
        .await
        .unwrap();
    assert_eq!(claimed(&store).await, []);
    store
        .set_overrides(&Principal::Open, &sum, &json("{}"), None)
        .await
        .unwrap();
    assert_eq!(claimed(&store).await, [work]);
}

pub async fn a_worker_is_seen_for_the_kinds_that_are_declared(store: AnyStore) {
    let (mail, other) = (kind("user.mail"), kind("other"));
    declared(&store, &mail, "{}").await;
    declared(&store, &other, "{}").await;
    assert!(!row(&store, &mail).await.unwrap().has_worker);
    let revision = store.kinds_revision().await.unwrap();
    let seen = store
        .worker_seen(&[mail.clone(), kind("nobody"), KindName::default()])
        .await
        .unwrap();
    assert_eq!(seen, 2);
    let served = row(&store, &mail).await.unwrap();
    assert!(served.has_worker && served.worker_seen_on.is_some());
    assert!(!row(&store, &other).await.unwrap().has_worker);
    assert_eq!(
        store.kinds_revision().await.unwrap(),
        revision,
        "being seen changes no kind"
    );
}

pub async fn there_is_a_most_of_kinds(store: AnyStore) {
    let name = |number: i64| kind(&format!("kind_{number}"));
    // The built-in one counts.
    for number in 1..MOST_KINDS {
        assert!(
            store
                .declare(&Principal::Open, &name(number), &json("{}"))
                .await
                .unwrap()
                .is_some(),
            "{number}"
        );
    }
    assert_eq!(
        store
            .declare(&Principal::Open, &kind("more"), &json("{}"))
            .await
            .unwrap(),
        None
    );
    let known = store
        .declare(&Principal::Open, &name(1), &json(r#"{"policy":{}}"#))
        .await
        .unwrap();
    assert_eq!(known.unwrap().version, 2);
}

pub async fn each_kind_is_kept_for_its_own_time(store: AnyStore) {
    let (mail, report) = (kind("user.mail"), kind("report"));
    let wanted = [work_of(&mail), work_of(&report), work_of(&KindName::default())];
    let works = store.create(&wanted).await.unwrap();
    for work in works.iter().flatten() {
        store.cancel(&Principal::Open, work.id, None).await.unwrap();
    }
    let times = RetentionTimes {
        default: Duration::ZERO,
        by_kind: vec![
            (mail.clone(), Duration::MAX),
            (report.clone(), Duration::from_secs(3600)),
        ],
    };
    assert_eq!(times.shortest(), Duration::ZERO);
    // What is of this very moment stays until the next one.
    eventually!(store.purge(WorkId(0), &times, 10).await.unwrap().works == 1);
    let ids: Vec<WorkId> = works.iter().flatten().map(|work| work.id).collect();
    let mut left: Vec<WorkId> = store.by_ids(&ids).await.unwrap().iter().map(|work| work.id).collect();
    left.sort();
    assert_eq!(left, ids[..2]);
}
