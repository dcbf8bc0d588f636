//! The counters: kept with every change, rolled up and rebuilt at any time, and always the truth.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::fixtures::{
    LEASE, bound, claim, complete_one, completion, created, done, everything, failed, letters, new_work, now, retry,
    running, without_row, work_of,
};
use pp_lib::domain::{AddUpTo, ByOrigin, ByStatus, KindCounts, KindName, Origin, Principal, Status, Work, WorkId};
use pp_lib::store::{AnyStore, Changed, Claim, NewWork, Outcome, Search, Selection};

const AT_ONCE: Duration = Duration::ZERO;

/// Holds after each case: whatever it did, the counters are what counting all works comes to.
pub async fn the_counters_are_the_truth(store: &AnyStore) {
    let (began, stats, ended) = (now(), store.stats(None).await.unwrap(), now());
    let works = all(store).await;
    let mut counted = ByOrigin::default();
    for work in &works {
        *counted.of(work.work_code.origin()).of(work.status) += 1;
    }
    assert_eq!(stats.works, counted);
    let mut by_kind: BTreeMap<KindName, ByStatus> = BTreeMap::new();
    for work in &works {
        *by_kind.entry(work.kind.clone()).or_default().of(work.status) += 1;
    }
    let kinds = by_kind.into_iter().map(|(kind, works)| KindCounts { kind, works });
    assert_eq!(store.kind_counts().await.unwrap(), kinds.collect::<Vec<_>>());
    let scheduled = |at: i64| {
        let waits = |work: &&Work| work.status == Status::Pending && work.run_at > Some(at);
        works.iter().filter(waits).count() as i64
    };
    let possible = scheduled(ended)..=scheduled(began);
    assert!(
        possible.contains(&stats.scheduled),
        "{} of {possible:?}",
        stats.scheduled
    );
    let ByOrigin { api, consumer, app } = stats.works;
    let unfinished = |of: ByStatus| of.pending + of.running;
    let unfinished: i64 = [api, consumer, app].map(unfinished).into_iter().sum();
    assert_eq!(stats.backlog, unfinished - stats.scheduled);
}

async fn all(store: &AnyStore) -> Vec<Work> {
    let mut all = Vec::new();
    let mut search = Search {
        limit: 1000,
        ..everything()
    };
    loop {
        let page = store.search(&search).await.unwrap();
        match page.last() {
            Some(last) => search.before = Some(last.id),
            None => return all,
        }
        all.extend(page);
    }
}

async fn api(store: &AnyStore) -> ByStatus {
    let stats = store.stats(None).await.unwrap();
    assert_eq!(stats.works.consumer, ByStatus::default());
    stats.works.api
}

pub async fn counters_follow_every_kind_of_change(store: AnyStore) {
    assert_eq!(store.stats(None).await.unwrap(), Default::default());
    let works = created(&store, &[1, 2, 3, 4, 5]).await;
    let mut expected = ByStatus {
        pending: 5,
        ..Default::default()
    };
    assert_eq!(api(&store).await, expected);

    let mut claims = claim(&store).await;
    claims.sort_by_key(|claim| claim.id);
    let batch = [
        completion(&claims[0], done(1)),
        completion(&claims[1], failed("never")),
        completion(&claims[2], Outcome::running(LEASE)),
        completion(&claims[3], Outcome::running(AT_ONCE)),
        completion(&claims[4], retry(LEASE)),
    ];
    store.complete(KindName::add_up_to(), &batch).await.unwrap();
    store.complete(KindName::add_up_to(), &batch).await.unwrap();
    (expected.pending, expected.running, expected.done, expected.failed) = (1, 2, 1, 1);
    assert_eq!(api(&store).await, expected, "each change once");

    complete_one(&store, running(&claims[2], done(3))).await;
    eventually!(store.rescue(0, 10).await.unwrap() == 1);
    (expected.running, expected.done, expected.failed) = (0, 2, 2);
    assert_eq!(api(&store).await, expected);

    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 2);
    (expected.pending, expected.failed) = (3, 0);
    assert_eq!(api(&store).await, expected);

    // One that is done already, and one that is pending.
    for work in [&works[0], &works[1]] {
        store
            .update(&Principal::Open, work.id, &bound(9).args(), None, AT_ONCE)
            .await
            .unwrap();
    }
    (expected.pending, expected.done) = (4, 1);
    assert_eq!(api(&store).await, expected);

    eventually!(!claim(&store).await.is_empty());
    let sent = store.lose_sent(0).await.unwrap();
    (expected.pending, expected.failed) = (4 - i64::try_from(sent).unwrap(), i64::try_from(sent).unwrap());
    assert!(sent > 0);
    assert_eq!(api(&store).await, expected);

    for work in &works {
        store.delete(&Principal::Open, work.id, None).await.unwrap();
    }
    assert_eq!(api(&store).await, ByStatus::default());
    assert_eq!(store.stats(None).await.unwrap().backlog, 0);
}

pub async fn counters_tell_origins_apart(store: AnyStore) {
    store
        .create_all(&[new_work(Origin::Api, 1), new_work(Origin::Consumer, 2)])
        .await
        .unwrap()
        .unwrap();
    let demands = [
        without_row(1, done(1)),
        without_row(2, done(2)),
        without_row(3, failed("never")),
        without_row(4, Outcome::running(LEASE)),
        without_row(5, retry(LEASE)),
    ];
    store.complete(KindName::add_up_to(), &demands[..2]).await.unwrap();
    store.complete(KindName::add_up_to(), &demands).await.unwrap();
    let works = store.stats(None).await.unwrap().works;
    let (pending, running, done, failed, cancelled) = (2, 1, 2, 1, 0);
    let consumer = ByStatus {
        pending,
        running,
        done,
        failed,
        cancelled,
    };
    assert_eq!(works.consumer, consumer);
    let pending = 1;
    assert_eq!(
        works.api,
        ByStatus {
            pending,
            ..Default::default()
        }
    );
}

pub async fn the_newest_works_are_shown(store: AnyStore) {
    let works = created(&store, &[1; 12]).await;
    store.delete(&Principal::Open, works[11].id, None).await.unwrap();
    let newest = store.stats(None).await.unwrap().newest;
    let ids: Vec<WorkId> = newest.iter().map(|work| work.id).collect();
    let expected: Vec<WorkId> = works[1..11].iter().rev().map(|work| work.id).collect();
    assert_eq!(ids, expected);
    assert_eq!(newest[0], work_of(&store, newest[0].id).await);
}

pub async fn folding_changes_no_counter(store: AnyStore) {
    let works = created(&store, &[1, 2, 3]).await;
    let claims = claim(&store).await;
    complete_one(
        &store,
        completion(
            &claims[0],
            done(AddUpTo::of_args(&claims[0].args).unwrap().get().into()),
        ),
    )
    .await;
    store.delete(&Principal::Open, works[2].id, None).await.unwrap();
    let before = store.stats(None).await.unwrap();
    assert!(store.roll_up().await.unwrap() > 0);
    assert_eq!(store.roll_up().await.unwrap(), 0, "all of it was rolled up");
    let after = store.stats(None).await.unwrap();
    assert_eq!((after.works, after.backlog), (before.works, before.backlog));
    created(&store, &[4]).await;
    assert_eq!(store.stats(None).await.unwrap().backlog, before.backlog + 1);
    assert_eq!(store.roll_up().await.unwrap(), 1, "for one statement");
    eventually!(per_minute(&store).await == 1.0);
}

async fn per_minute(store: &AnyStore) -> f64 {
    (store.stats(None).await.unwrap().works_per_second.over_60s * 60.0).round()
}

pub async fn works_that_became_done_make_the_rates(store: AnyStore) {
    let begun = Instant::now();
    let (mut completed, mut seen) = (0, false);
    // Until one of them is seen within the last whole second, whenever that is.
    eventually!({
        complete_one(&store, without_row(3, done(3))).await;
        completed += 1;
        if completed % 3 == 0 {
            store.roll_up().await.unwrap();
        }
        let rate = store.stats(None).await.unwrap().works_per_second.over_1s;
        assert!(rate <= f64::from(completed));
        seen |= rate > 0.0;
        seen
    });
    complete_one(&store, without_row(3, failed("never"))).await;
    if begun.elapsed() < Duration::from_secs(50) {
        eventually!(per_minute(&store).await == f64::from(completed));
    }
    let latency = store.stats(None).await.unwrap().latency_ms;
    assert_eq!(
        (latency.p50, latency.p99),
        (None, None),
        "nobody knows since when they were asked for"
    );
}

pub async fn the_latency_is_from_the_demand_to_done(store: AnyStore) {
    let begun = Instant::now();
    created(&store, &[3]).await;
    let (there, waited) = (Instant::now(), Duration::from_millis(300));
    eventually!(there.elapsed() > waited);
    let slow = claim(&store).await.remove(0);
    complete_one(&store, completion(&slow, done(3))).await;
    let most = begun.elapsed();
    eventually!(store.stats(None).await.unwrap().latency_ms.p50.is_some());
    let latency = store.stats(None).await.unwrap().latency_ms;
    assert_eq!(latency.p50, latency.p99);
    let (p50, least) = (latency.p50.unwrap(), waited.as_secs_f64() * 1e3 - 5.0);
    assert!(
        p50 >= least && p50 <= most.as_secs_f64() * 1.1e3 + 5.0,
        "{p50} ms of {most:?}"
    );
    store.roll_up().await.unwrap();
    assert_eq!(store.stats(None).await.unwrap().latency_ms, latency);
}

pub async fn a_work_that_is_done_again_has_no_latency(store: AnyStore) {
    let work = created(&store, &[3]).await.remove(0);
    store
        .update(&Principal::Open, work.id, &bound(4).args(), None, AT_ONCE)
        .await
        .unwrap();
    let mut claims = Vec::new();
    eventually!({
        claims.extend(claim(&store).await);
        !claims.is_empty()
    });
    complete_one(&store, completion(&claims[0], done(4))).await;
    eventually!(per_minute(&store).await == 1.0);
    assert_eq!(store.stats(None).await.unwrap().latency_ms.p99, None);
}

pub async fn a_rebuild_changes_no_counter_and_no_rate(store: AnyStore) {
    created(&store, &[1, 2, 3]).await;
    let claims = claim(&store).await;
    complete_one(
        &store,
        completion(
            &claims[0],
            done(AddUpTo::of_args(&claims[0].args).unwrap().get().into()),
        ),
    )
    .await;
    eventually!(per_minute(&store).await == 1.0);
    for _ in 0..2 {
        store.rebuild().await.unwrap();
        the_counters_are_the_truth(&store).await;
        assert_eq!(per_minute(&store).await, 1.0);
        assert_eq!(store.roll_up().await.unwrap(), 0, "the rebuild has rolled up");
    }
}

pub async fn counters_stay_right_through_a_random_mix(store: AnyStore) {
    const WORKERS: usize = 6;
    const STEPS: usize = 60;
    let mixing = (0..WORKERS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            for _ in 0..STEPS {
                random_step(&store, &mut held).await;
            }
        })
    });
    let mixing: Vec<_> = mixing.collect();
    while !mixing.iter().all(tokio::task::JoinHandle::is_finished) {
        // Never half of a change.
        let mut works = store.stats(None).await.unwrap().works;
        for (origin, status) in Origin::ALL
            .into_iter()
            .flat_map(|origin| Status::ALL.map(|status| (origin, status)))
        {
            assert!(*works.of(origin).of(status) >= 0, "{works:?}");
        }
    }
    for one in mixing {
        one.await.unwrap();
    }
    the_counters_are_the_truth(&store).await;
    store.roll_up().await.unwrap();
    the_counters_are_the_truth(&store).await;
    store.rebuild().await.unwrap();
    the_counters_are_the_truth(&store).await;
}

fn dice(sides: i32) -> i32 {
    rand::rng().random_range(0..sides)
}

/// Something that anybody may do; `held` are the claims of rows that this one knows of.
async fn random_step(store: &AnyStore, held: &mut Vec<Claim>) {
    let id = WorkId(i64::from(1 + dice(150)));
    match dice(17) {
        0 | 1 => drop(created(store, &[1, 2, 3]).await),
        14 => drop(store.cancel(&Principal::Open, id, None).await.unwrap()),
        15 => drop(store.retry(&Principal::Open, id, None).await.unwrap()),
        16 => {
            let later = NewWork {
                run_at: Some(now() + i64::from(dice(3))),
                kind: ["add_up_to", "other"][usize::from(dice(2) == 0)].parse().unwrap(),
                ..new_work(Origin::Api, 9)
            };
            store.create(&[later]).await.unwrap();
        }
        2 => drop(store.create_all(&[new_work(Origin::Consumer, 5)]).await.unwrap()),
        3 => drop(
            store
                .complete(
                    KindName::add_up_to(),
                    &[without_row(6, done(6)), without_row(7, random_outcome(7))],
                )
                .await
                .unwrap(),
        ),
        4 => {
            held.extend(store.claim(&[], None, AT_ONCE, 5).await.unwrap());
            held.sort_by_key(|claim| claim.id);
            held.dedup_by_key(|claim| claim.id);
        }
        5 | 6 => {
            let batch: Vec<_> = held
                .iter()
                .map(|claim| {
                    completion(
                        claim,
                        random_outcome(AddUpTo::of_args(&claim.args).unwrap().get().into()),
                    )
                })
                .collect();
            store.complete(KindName::add_up_to(), &batch).await.unwrap();
        }
        7 => {
            let batch: Vec<_> = held
                .drain(..)
                .map(|claim| {
                    running(
                        &claim,
                        random_outcome(AddUpTo::of_args(&claim.args).unwrap().get().into()),
                    )
                })
                .collect();
            store.complete(KindName::add_up_to(), &batch).await.unwrap();
        }
        8 => drop(store.rescue(dice(2), 10).await.unwrap()),
        9 => drop(store.lose_sent(dice(2)).await.unwrap()),
        10 => drop(
            store
                .update(&Principal::Open, id, &bound(8).args(), None, AT_ONCE)
                .await
                .unwrap(),
        ),
        11 => assert_ne!(
            store.delete(&Principal::Open, id, None).await.unwrap(),
            Changed::OtherVersion
        ),
        12 => {
            let some = letters(store).await.into_iter().take(3).map(|letter| letter.id);
            store
                .redrive(&Principal::Open, &Selection::Ids(some.collect()))
                .await
                .unwrap();
        }
        _ => match dice(4) {
            0 => store.rebuild().await.unwrap(),
            _ => drop(store.roll_up().await.unwrap()),
        },
    }
}

fn random_outcome(number: i64) -> Outcome {
    match dice(4) {
        0 => done(number),
        1 => failed("never"),
        2 => retry(AT_ONCE),
        _ => Outcome::running(AT_ONCE),
    }
}
