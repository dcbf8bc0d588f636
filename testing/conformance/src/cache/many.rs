//! Many at once, and none.

use super::fixtures::*;
use pp_lib::cache::{ByCode, EntryOrLease};
use pp_lib::domain::WorkId;

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

fn entries(version: i64) -> Vec<EntryOrLease> {
    (1..=3_000).map(|id| EntryOrLease::Entry(work(id, version))).collect()
}
