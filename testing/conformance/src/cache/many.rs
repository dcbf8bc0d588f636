//! Many at once, and none.

use super::fixtures::*;
use pp_lib::cache::{ByCode, Entry, EntryOrLease, Provisional};
use pp_lib::domain::{Json, Work, WorkId};

/// No question, no answer, no error.
pub async fn nothing_asked_is_nothing_answered(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let looked_up = cache.look_up(&[]).await.unwrap();
    assert!(looked_up.fresh && looked_up.found.is_empty());
    cache.fill(&[]).await.unwrap();
    cache.put(&[], cache.now().await.unwrap()).await.unwrap();
    cache.refresh(&[]).await.unwrap();
    cache.put_codes(&[]).await.unwrap();
    assert_eq!(cache.present(&[]).await.unwrap(), [false; 0]);
    assert_eq!(cache.by_codes(&[]).await.unwrap(), []);
}

/// Whether there was something before or not.
pub async fn the_last_of_concurrent_versions_is_left(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 1)).await;
    let writers = (1..=100).map(|turn| {
        let cache = cache.clone();
        // 37 and 101 have no common divisor: each version comes once, in no order.
        let version = turn * 37 % 101;
        tokio::spawn(async move {
            refresh(&cache, 1, work(1, version)).await;
            for id in [1, 2] {
                put(&cache, id, work(id, version)).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for id in [1, 2] {
        assert_holds(&cache, id, work(id, 100)).await;
    }
}

/// In whichever order they stand there.
pub async fn the_newest_in_a_batch_is_left(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 3, work(3, 1)).await;
    let now = cache.now().await.unwrap();
    let put = [(1, 1), (1, 2), (2, 2), (2, 1)].map(|(id, version)| (WorkId(id), work(id, version)));
    cache.put(&put, now).await.unwrap();
    let refreshed = [3, 2].map(|version| (WorkId(3), work(3, version)));
    cache.refresh(&refreshed).await.unwrap();
    for (id, version) in [(1, 2), (2, 2), (3, 3)] {
        assert_holds(&cache, id, work(id, version)).await;
    }
}

/// In order, none forgotten.
pub async fn batches_may_have_thousands(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let ids: Vec<_> = (1..=3_000).map(WorkId).collect();
    eventually(async || {
        let found = cache.look_up(&ids).await.unwrap().found;
        let missing = ids.iter().zip(found).filter_map(|(id, found)| match found {
            EntryOrLease::Missing(lease) => Some((*id, lease, work(id.0, 1))),
            _ => None,
        });
        cache.fill(&missing.collect::<Vec<_>>()).await.unwrap();
        cache.look_up(&ids).await.unwrap().found == entries(1)
    })
    .await;
    let at = |version| ids.iter().map(move |id| (*id, work(id.0, version)));
    let put: Vec<_> = at(2).collect();
    cache.put(&put, cache.now().await.unwrap()).await.unwrap();
    assert_eq!(cache.look_up(&ids).await.unwrap().found, entries(2));
    cache.refresh(&at(3).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(cache.look_up(&ids).await.unwrap().found, entries(3));
    let asked: Vec<_> = (2_901..=5_900).map(WorkId).collect();
    let present = cache.present(&asked).await.unwrap();
    assert_eq!(present, [vec![true; 100], vec![false; 2_900]].concat());
    let codes: Vec<_> = ids.iter().map(|id| (code(id.0), ByCode::Id(*id))).collect();
    cache.put_codes(&codes).await.unwrap();
    let asked: Vec<_> = ids.iter().map(|id| code(id.0)).collect();
    let known = cache.by_codes(&asked).await.unwrap();
    assert_eq!(
        known,
        codes.into_iter().map(|(_, known)| Some(known)).collect::<Vec<_>>()
    );
}

/// More than one call to a server may carry.
pub async fn large_works_come_back_whole(fresh: Fresh) {
    const WORKS: i64 = 100;
    let cache = fresh_since_now(fresh, LASTING).await;
    let text = |letter: &str| Json::accepted(format!("\"{}\"", letter.repeat(Json::USUAL_LIMIT - 2)));
    let large = |id, version| match work(id, version) {
        Entry::Work(work) => Entry::Work(Work {
            kind: "mail".parse().unwrap(),
            args: text("a"),
            result: Some(text("r")),
            ..work
        }),
        entry => entry,
    };
    let ids: Vec<_> = (1..=WORKS).map(WorkId).collect();
    let at = |version| {
        (1..=WORKS)
            .map(move |id| (WorkId(id), large(id, version)))
            .collect::<Vec<_>>()
    };
    let held = |version| {
        at(version)
            .into_iter()
            .map(|(_, entry)| EntryOrLease::Entry(entry))
            .collect::<Vec<_>>()
    };
    let leases = cache.look_up(&ids).await.unwrap().found;
    let fills = leases.into_iter().zip(at(1)).map(|(found, (id, entry))| match found {
        EntryOrLease::Missing(lease) => (id, lease, entry),
        other => panic!("{other:?} instead of a lease"),
    });
    cache.fill(&fills.collect::<Vec<_>>()).await.unwrap();
    assert!(cache.look_up(&ids).await.unwrap().found == held(1));
    cache.put(&at(2), cache.now().await.unwrap()).await.unwrap();
    assert!(cache.look_up(&ids).await.unwrap().found == held(2));
    cache.refresh(&at(3)).await.unwrap();
    assert!(cache.look_up(&ids).await.unwrap().found == held(3));

    let demands: Vec<_> = (1..=WORKS)
        .map(|id| {
            let demand = Provisional {
                message_id: format!("m{id}").try_into().unwrap(),
                work_code: code(id),
                kind: "mail".parse().unwrap(),
                args: text("a"),
                created_on: 0,
                unique: None,
            };
            (code(id), ByCode::Provisional(demand))
        })
        .collect();
    cache.put_codes(&demands).await.unwrap();
    let codes: Vec<_> = (1..=WORKS + 1).map(code).collect();
    let known = cache.by_codes(&codes).await.unwrap();
    let expected = demands.into_iter().map(|(_, known)| Some(known)).chain([None]);
    assert!(known == expected.collect::<Vec<_>>());
}

fn entries(version: i64) -> Vec<EntryOrLease> {
    (1..=3_000).map(|id| EntryOrLease::Entry(work(id, version))).collect()
}
