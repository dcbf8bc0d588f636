//! What goes when it is old, what stays, and what readers of the feed are told of it. That works are old is here a matter
//! of moments.

#![allow(missing_docs, reason = "each case is named after what it shows")]

use std::collections::HashSet;
use std::time::Duration;

use super::fixtures::{
    HOLD, LEASE, applied, bound, by_code, claim, complete_one, completion, created, done, everything, failed, ids,
    letters, new_work, now, retry, without_row, work_of,
};
use pp_lib::domain::{KindName, Origin, Position, Principal, WorkId};
use pp_lib::runtime::new_work_code;
use pp_lib::store::{
    AnyStore, Change, Changed, Completed, Completion, NewWork, Outcome, Purged, RetentionTimes, Selection,
};

const AT_ONCE: Duration = Duration::ZERO;
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Purges what is older than this, in batches of so many; how many works and events went.
async fn purge(store: &AnyStore, retain: Duration, batch: u16) -> (u64, u64) {
    let (mut after, mut went) = (WorkId(0), (0, 0));
    loop {
        let Purged { works, events, next } = store.purge(after, &RetentionTimes::all(retain), batch).await.unwrap();
        went = (went.0 + works, went.1 + events);
        let Some(next) = next else { return went };
        assert!(next > after, "a walk goes on");
        after = next;
    }
}

/// Purges all that is finished, and sees to it that so many works and events go: none from behind an open transaction,
/// which anybody on the server may have, and none from this very moment.
async fn purge_all(store: &AnyStore, works: u64, events: u64) {
    let mut went = (0, 0);
    eventually!({
        let some = purge(store, AT_ONCE, 2).await;
        went = (went.0 + some.0, went.1 + some.1);
        went.0 >= works
    });
    assert_eq!(went, (works, events));
    assert_eq!(purge(store, AT_ONCE, 2).await, (0, 0));
}

/// So many works that are done, by themselves.
async fn finished(store: &AnyStore, count: i64) -> Vec<Completion> {
    let demands: Vec<Completion> = (1..=count).map(|number| without_row(number, done(number))).collect();
    let completed = store.complete(KindName::add_up_to(), &demands).await.unwrap();
    assert!(completed.iter().all(|completed| *completed == Completed::Applied));
    demands
}

async fn is_gone(store: &AnyStore, id: WorkId) {
    assert!(store.by_ids(&[id]).await.unwrap().is_empty());
    assert_eq!(store.events(id).await.unwrap(), None);
    let late = store
        .update(&Principal::Open, id, &bound(1).args(), None, AT_ONCE)
        .await
        .unwrap();
    assert_eq!(late, Changed::Missing);
    assert_eq!(
        store.delete(&Principal::Open, id, None).await.unwrap(),
        Changed::Missing
    );
}

/// So many changes behind a place. Their places are from a moment at which no transaction was open on the server, whoever
/// uses it besides: they stay valid as long as what is behind them.
async fn told(store: &AnyStore, mut after: Position, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    eventually!({
        let page = store.changes(&after, 10).await.unwrap().unwrap();
        let end = page
            .position
            .partly_seen()
            .map_or(page.position.seen(), |(next, _)| next);
        if end.open.is_empty() {
            after = page.position;
            changes.extend(page.items);
        }
        changes.len() >= count
    });
    assert_eq!(changes.len(), count);
    changes
}

pub async fn what_is_finished_for_long_goes_with_its_events(store: AnyStore) {
    let works = created(&store, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    let mut claims = claim(&store).await;
    claims.sort_by_key(|claim| claim.id);
    let lost = AT_ONCE;
    let batch = [
        completion(&claims[0], done(1)),
        completion(&claims[1], failed("its letter is dropped")),
        completion(&claims[2], done(3)),
        completion(&claims[3], failed("its letter stays")),
        completion(&claims[4], Outcome::running(LEASE)),
        completion(&claims[5], retry(LEASE)),
        completion(&claims[6], done(7)),
        completion(&claims[7], Outcome::running(lost)),
    ];
    let completed = store.complete(KindName::add_up_to(), &batch).await.unwrap();
    assert!(completed.iter().all(applied), "{completed:?}");
    store.delete(&Principal::Open, works[2].id, None).await.unwrap();
    store.delete(&Principal::Open, works[5].id, None).await.unwrap();
    store
        .update(&Principal::Open, works[6].id, &bound(70).args(), None, LEASE)
        .await
        .unwrap();
    let dropped = letters(&store)
        .await
        .into_iter()
        .find(|letter| letter.work_id == Some(works[1].id));
    let dropped = Selection::Ids(vec![dropped.unwrap().id]);
    assert_eq!(store.drop_letters(&Principal::Open, &dropped).await.unwrap(), 1);
    let waiting = NewWork {
        run_at: Some(now() + 3600),
        ..new_work(Origin::Api, 9)
    };
    let waiting = store.create(&[waiting]).await.unwrap().remove(0).unwrap();
    let by_itself = finished(&store, 1).await.remove(0);

    assert_eq!(purge(&store, A_DAY, 100).await, (0, 0), "nothing is as old as that");
    // Created, started, stopped and a result; or an error; or cancelled as well.
    purge_all(&store, 5, 4 + 3 + 5 + 4 + 3).await;
    for gone in [0, 1, 2, 5] {
        is_gone(&store, works[gone].id).await;
    }
    assert_eq!(by_code(&store, &by_itself.work_code).await, None);
    let mut stay: Vec<i64> = [3, 4, 6, 7].map(|index| works[index].id.0).to_vec();
    stay.push(waiting.id.0);
    let mut there = ids(&store, everything()).await;
    there.sort_unstable();
    assert_eq!(there, stay);
    for id in stay {
        assert!(!store.events(WorkId(id)).await.unwrap().unwrap().is_empty());
    }

    assert_eq!(letters(&store).await.len(), 1);
    assert_eq!(store.redrive(&Principal::Open, &Selection::ALL).await.unwrap(), 1);
    eventually!(store.rescue(5, 10).await.unwrap() == 1);
    let mut again = Vec::new();
    eventually!({
        again.extend(claim(&store).await);
        again.len() == 2
    });
    for claim in &again {
        let completed = complete_one(&store, completion(claim, done(1))).await;
        assert_eq!(completed, Completed::Applied, "what stayed goes on");
    }
}

pub async fn a_walk_looks_at_so_many_works_and_ends_with_the_old_ones(store: AnyStore) {
    let works = created(&store, &[1, 2, 3, 4, 5]).await;
    let look =
        async |after: WorkId, retain: Duration| store.purge(after, &RetentionTimes::all(retain), 2).await.unwrap();
    let at = |next: Option<WorkId>| Purged {
        next,
        ..Purged::default()
    };
    // From this moment nothing is old.
    eventually!(look(WorkId(0), AT_ONCE).await == at(Some(works[1].id)));
    eventually!(look(works[1].id, AT_ONCE).await == at(Some(works[3].id)));
    assert_eq!(look(works[3].id, AT_ONCE).await, at(None));
    assert_eq!(look(works[4].id, AT_ONCE).await, at(None));
    assert_eq!(look(WorkId(0), A_DAY).await, at(None), "what is young ends the walk");
}

pub async fn a_purged_work_is_not_remembered(store: AnyStore) {
    let demand = finished(&store, 1).await.remove(0);
    let wanted = new_work(Origin::Api, 4);
    let first = store
        .create(std::slice::from_ref(&wanted))
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let claim = claim(&store).await.remove(0);
    let computed = completion(&claim, done(4));
    assert_eq!(complete_one(&store, computed.clone()).await, Completed::Applied);
    assert_eq!(complete_one(&store, demand.clone()).await, Completed::Superseded);
    purge_all(&store, 2, 3 + 4).await;

    assert_eq!(
        complete_one(&store, computed).await,
        Completed::Superseded,
        "a row that is gone"
    );
    store.mark_sent(&[claim]).await.unwrap();
    assert!(ids(&store, everything()).await.is_empty());
    let late = Completion {
        work_code: new_work_code(Origin::Consumer),
        ..demand
    };
    assert_eq!(
        complete_one(&store, late.clone()).await,
        Completed::Applied,
        "a new work"
    );
    assert_eq!(
        complete_one(&store, late).await,
        Completed::Superseded,
        "which is remembered"
    );
    let again = store.create(&[wanted]).await.unwrap().remove(0).unwrap();
    assert!(again.id > first.id, "a new work");
}

pub async fn the_feed_is_not_continued_from_before_what_was_purged(store: AnyStore) {
    let begin = store.head().await.unwrap();
    let stays = created(&store, &[1]).await.remove(0);
    finished(&store, 3).await;
    let old = told(&store, begin.clone(), 10).await;
    let young = created(&store, &[2]).await.remove(0);
    told(&store, old[9].position.clone(), 1).await;
    purge_all(&store, 3, 9).await;

    for lost in [&begin, &old[0].position, &old[4].position, &old[8].position] {
        assert_eq!(store.changes(lost, 10).await.unwrap(), None, "not a page with a gap");
        assert_eq!(store.touched(lost, 10).await.unwrap(), None);
    }
    assert_eq!(told(&store, old[9].position.clone(), 1).await[0].work_id, young.id);
    let (mut after, mut touched, mut complete) = (old[9].position.clone(), Vec::new(), false);
    while !complete {
        let page = store.touched(&after, 10).await.unwrap().unwrap();
        touched.extend(page.items);
        (after, complete) = (page.position, page.complete);
    }
    assert_eq!(touched, [young.id], "it goes on from what was purged last");
    assert_eq!(work_of(&store, stays.id).await, stays);
}

pub async fn a_feed_of_which_everything_was_purged_goes_on(store: AnyStore) {
    let begin = store.head().await.unwrap();
    finished(&store, 4).await;
    let end = told(&store, begin, 12).await[11].position.clone();
    purge_all(&store, 4, 12).await;
    for place in [&end, &store.head().await.unwrap()] {
        assert_eq!(store.changes(place, 10).await.unwrap().unwrap().items, []);
    }
    let new = created(&store, &[1]).await.remove(0);
    assert_eq!(told(&store, end, 1).await[0].work_id, new.id);
}

/// One writes works in a row, one purges them, one reads: what it reads between two resets has no work left out.
pub async fn a_reader_that_is_purged_away_is_told_so(store: AnyStore) {
    const WORKS: usize = 150;
    let begin = store.head().await.unwrap();
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            let mut codes = Vec::new();
            for _ in 0..WORKS {
                codes.push(finished(&store, 1).await.remove(0).work_code);
            }
            codes
        }
    });
    let purging = tokio::spawn({
        let store = store.clone();
        async move {
            let mut went = 0;
            eventually!({
                went += purge(&store, AT_ONCE, 3).await.0;
                went == WORKS as u64
            });
        }
    });
    let (mut after, mut runs, mut resets) = (begin, vec![Vec::new()], 0);
    let mut read = async || match store.changes(&after, 2).await.unwrap() {
        Some(page) => {
            let codes = page.items.into_iter().map(|change| change.event.work_code);
            runs.last_mut().unwrap().extend(codes);
            after = page.position;
        }
        None => {
            after = store.head().await.unwrap();
            runs.push(Vec::new());
            resets += 1;
        }
    };
    while !purging.is_finished() {
        read().await;
    }
    purging.await.unwrap();
    let codes = writing.await.unwrap();
    for mut run in runs {
        run.dedup();
        let Some(first) = run.first() else { continue };
        let from = codes.iter().position(|code| code == first).unwrap();
        assert_eq!(run, codes[from..from + run.len()], "without a gap, {resets} resets");
    }
}

/// Those who change works that are being purged are told that they did, and then the work is there, or that there is none.
pub async fn who_changes_a_work_that_is_being_purged_wins_or_is_told(store: AnyStore) {
    const WORKS: usize = 60;
    finished(&store, WORKS as i64).await;
    let works = ids(&store, everything()).await;
    let changing = works.chunks(10).map(|some| {
        let (store, some) = (store.clone(), some.to_vec());
        tokio::spawn(async move {
            let mut changed = HashSet::new();
            for id in some {
                let mut there = matches!(
                    store
                        .update(&Principal::Open, WorkId(id), &bound(7).args(), None, HOLD)
                        .await
                        .unwrap(),
                    Changed::Applied(_)
                );
                if id % 3 == 0 {
                    let deleted = store.delete(&Principal::Open, WorkId(id), None).await.unwrap();
                    assert_eq!(deleted, if there { Changed::Applied(()) } else { Changed::Missing });
                    there = false;
                }
                if there {
                    changed.insert(id);
                }
            }
            changed
        })
    });
    let changing: Vec<_> = changing.collect();
    let mut went = 0;
    while !changing.iter().all(tokio::task::JoinHandle::is_finished) {
        went += purge(&store, AT_ONCE, 1).await.0;
    }
    let mut changed = HashSet::new();
    for one in changing {
        changed.extend(one.await.unwrap());
    }
    eventually!({
        went += purge(&store, AT_ONCE, 50).await.0;
        went as usize + changed.len() == WORKS
    });
    let there: HashSet<i64> = ids(&store, everything()).await.into_iter().collect();
    assert_eq!(there, changed);
    for id in there {
        let events = store.events(WorkId(id)).await.unwrap().unwrap();
        assert_eq!(events.len(), 4, "its whole history");
    }
}

/// Several who purge at once share the work.
pub async fn many_purge_at_once_and_each_work_goes_once(store: AnyStore) {
    const WORKS: i64 = 90;
    finished(&store, WORKS).await;
    let purging = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { purge(&store, AT_ONCE, 7).await })
    });
    let mut went = (0, 0);
    for one in purging.collect::<Vec<_>>() {
        let some = one.await.unwrap();
        went = (went.0 + some.0, went.1 + some.1);
    }
    purge_all(&store, WORKS as u64 - went.0, 3 * WORKS as u64 - went.1).await;
}
