//! Those who look works up and fill in what is missing.

use std::time::Duration;

use super::fixtures::*;
use pp_lib::cache::{AnyCache, CacheOptions, Entry, EntryOrLease};
use pp_lib::domain::WorkId;

/// As the work was, byte for byte.
pub async fn what_is_missing_is_filled_with_its_lease(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 1)).await;
    filled(&cache, 2, work(2, 2)).await;
    filled(&cache, 3, Entry::Deleted).await;
    let looked_up = cache.look_up(&[WorkId(3), WorkId(1), WorkId(2)]).await.unwrap();
    assert!(looked_up.fresh);
    let entries = [Entry::Deleted, work(1, 1), work(2, 2)];
    assert_eq!(looked_up.found, entries.map(EntryOrLease::Entry));
}

/// Neither another's nor another work's.
pub async fn a_fill_needs_its_own_lease(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let (one, two) = (lease(&cache, 1).await, lease(&cache, 2).await);
    assert_ne!(one, two);
    fill(&cache, 1, two, work(1, 1)).await;
    fill(&cache, 3, one, work(3, 1)).await;
    for id in [1, 2, 3] {
        assert_holds_nothing(&cache, id).await;
    }
    filled(&cache, 4, work(4, 2)).await;
    fill(&cache, 4, one, work(4, 3)).await;
    assert_holds(&cache, 4, work(4, 2)).await;
}

/// One of them reads the store, not all.
pub async fn a_second_reader_waits_for_the_first(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let (first, second) = promptly(async |id| {
        let first = look_up(&cache, id).await;
        (first, look_up(&cache, id).await)
    })
    .await;
    assert!(matches!(first, EntryOrLease::Missing(_)), "{first:?}");
    assert_eq!(second, EntryOrLease::Nothing);
}

/// Whoever had it may have died; it is worth nothing then.
pub async fn a_lease_ends_by_itself(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let first = lease(&cache, 1).await;
    eventually(async || matches!(look_up(&cache, 1).await, EntryOrLease::Missing(_))).await;
    fill(&cache, 1, first, work(1, 1)).await;
    assert_holds_nothing(&cache, 1).await;
}

/// So that asking for it again and again does not ask the store each time.
pub async fn an_unknown_work_is_known_to_be_unknown_for_moments(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let found = promptly(async |id| {
        let lease = lease(&cache, id).await;
        fill(&cache, id, lease, Entry::Unknown).await;
        look_up(&cache, id).await
    })
    .await;
    assert_eq!(found, EntryOrLease::Entry(Entry::Unknown));
    for id in 1_000..1_003 {
        gone(&cache, id).await;
    }
}

/// Also when nobody changes them.
pub async fn entries_expire(fresh: Fresh) {
    let ttl = Duration::from_secs(1);
    let cache = fresh_since_now(fresh, CacheOptions { ttl, ..LASTING }).await;
    filled(&cache, 1, work(1, 1)).await;
    gone(&cache, 1).await;
    filled(&cache, 1, work(1, 1)).await;
}

/// Nobody could say that what is filled in is kept right.
pub async fn without_freshness_no_lease_is_left(fresh: Fresh) {
    let cache = fresh(LASTING);
    assert_no_lease(&cache).await;
    cache.clear(&position(1)).await.unwrap();
    assert_no_lease(&cache).await;
}

async fn assert_no_lease(cache: &AnyCache) {
    let looked_up = cache.look_up(&[WorkId(1), WorkId(2)]).await.unwrap();
    assert!(!looked_up.fresh);
    assert_eq!(looked_up.found, [EntryOrLease::Nothing, EntryOrLease::Nothing]);
    assert_eq!(cache.present(&[WorkId(1), WorkId(2)]).await.unwrap(), [false, false]);
}

/// They are better than nothing when the store is away.
pub async fn without_freshness_entries_are_still_told(fresh: Fresh) {
    let cache = fresh(LASTING);
    put(&cache, 1, work(1, 4)).await;
    let looked_up = cache.look_up(&[WorkId(1), WorkId(2)]).await.unwrap();
    assert!(!looked_up.fresh);
    assert_eq!(
        looked_up.found,
        [EntryOrLease::Entry(work(1, 4)), EntryOrLease::Nothing]
    );
}

/// Without a refresher the cache is not trusted for longer than the bound.
pub async fn freshness_runs_out(fresh: Fresh) {
    let staleness = Duration::from_secs(1);
    let cache = fresh(CacheOptions { staleness, ..LASTING });
    cache.clear(&position(1)).await.unwrap();
    eventually(async || {
        let now = cache.now().await.unwrap();
        cache.mark(&position(1), &position(1), now).await.unwrap();
        cache.look_up(&[WorkId(1)]).await.unwrap().fresh
    })
    .await;
    eventually(async || !cache.look_up(&[WorkId(1)]).await.unwrap().fresh).await;
    assert_eq!(look_up(&cache, 2).await, EntryOrLease::Nothing);
    assert!(!present(&cache, 2).await);
}
