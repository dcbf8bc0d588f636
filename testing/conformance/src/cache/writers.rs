//! Those who put what they committed.

use std::time::Duration;

use super::fixtures::*;
use pp_lib::cache::{CacheOptions, Entry, EntryOrLease};

/// With it what somebody read before the change.
pub async fn a_put_takes_the_lease_away(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let lease = lease(&cache, 1).await;
    put(&cache, 1, work(1, 2)).await;
    assert_holds(&cache, 1, work(1, 2)).await;
    fill(&cache, 1, lease, work(1, 1)).await;
    assert_holds(&cache, 1, work(1, 2)).await;
}

/// With them what somebody read before the cache was emptied.
pub async fn clearing_takes_leases_away(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let lease = lease(&cache, 1).await;
    cache.clear(&position(1)).await.unwrap();
    fill(&cache, 1, lease, work(1, 1)).await;
    assert_holds_nothing(&cache, 1).await;
}

/// Whoever comes last.
pub async fn a_newer_version_wins_and_an_older_one_is_rejected(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 9)).await;
    put(&cache, 2, work(2, 9)).await;
    for id in [1, 2] {
        for (put_version, left) in [(10, 10), (9, 10), (1, 10), (11, 11), (101, 101), (99, 101)] {
            put(&cache, id, work(id, put_version)).await;
            assert_holds(&cache, id, work(id, left)).await;
        }
    }
}

/// Neither where nothing is, nor where another is about to fill something in, nor over what nobody confirmed; what is
/// older or about to be goes, since whoever committed the newer would read it.
pub async fn a_late_put_is_refused_where_nothing_newer_could_be_seen(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    put_late(&cache, 1, work(1, 2)).await;
    assert_holds_nothing(&cache, 1).await;
    let older = lease(&cache, 2).await;
    put_late(&cache, 2, work(2, 2)).await;
    fill(&cache, 2, older, work(2, 1)).await;
    assert_holds_nothing(&cache, 2).await;
    put(&cache, 3, work(3, 1)).await;
    put_late(&cache, 3, work(3, 2)).await;
    assert_holds_nothing(&cache, 3).await;
    put(&cache, 4, work(4, 3)).await;
    put_late(&cache, 4, work(4, 2)).await;
    assert_holds(&cache, 4, work(4, 3)).await;
    filled(&cache, 5, Entry::Unknown).await;
    put_late(&cache, 5, work(5, 2)).await;
    assert_holds_nothing(&cache, 5).await;
}

/// Anything newer would have been brought there.
pub async fn a_late_put_over_what_the_refresher_looks_after_is_taken(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 1)).await;
    put_late(&cache, 1, work(1, 2)).await;
    assert_holds(&cache, 1, work(1, 2)).await;
}

const SHORT: CacheOptions = CacheOptions {
    staleness: Duration::from_secs(4),
    ..LASTING
};

/// The refresher may have passed by already.
pub async fn what_was_put_where_nothing_was_is_short_lived(fresh: Fresh) {
    let cache = fresh(SHORT);
    let (id, found) = promptly(async |id| {
        put(&cache, id, work(id, 1)).await;
        (id, look_up(&cache, id).await)
    })
    .await;
    assert_eq!(found, EntryOrLease::Entry(work(id, 1)));
    gone(&cache, id).await;
}

/// The one whose lease it was read after the change, perhaps, and may know better.
pub async fn what_was_put_over_a_lease_is_short_lived(fresh: Fresh) {
    let cache = fresh(SHORT);
    cache.clear(&position(1)).await.unwrap();
    let (id, before, after) = promptly(async |id| {
        let now = cache.now().await.unwrap();
        cache.mark(&position(1), &position(1), now).await.unwrap();
        let before = look_up(&cache, id).await;
        put(&cache, id, work(id, 1)).await;
        (id, before, look_up(&cache, id).await)
    })
    .await;
    assert!(matches!(before, EntryOrLease::Missing(_)), "{before:?}");
    assert_eq!(after, EntryOrLease::Entry(work(id, 1)));
    gone(&cache, id).await;
}

/// Two that come after each other may both come after the refresher.
pub async fn what_was_put_over_the_short_lived_is_short_lived(fresh: Fresh) {
    let cache = fresh(SHORT);
    let (id, found) = promptly(async |id| {
        put(&cache, id, work(id, 1)).await;
        put(&cache, id, work(id, 2)).await;
        (id, look_up(&cache, id).await)
    })
    .await;
    assert_eq!(found, EntryOrLease::Entry(work(id, 2)));
    gone(&cache, id).await;
}

/// Confirmed, it is as good as filled in.
pub async fn what_was_put_and_refreshed_stays(fresh: Fresh) {
    let cache = fresh(SHORT);
    let (put_only, refreshed) = promptly(async |id| {
        let ids = (id, id + 1_000);
        put(&cache, ids.0, work(ids.0, 3)).await;
        put(&cache, ids.1, work(ids.1, 3)).await;
        refresh(&cache, ids.1, work(ids.1, 3)).await;
        ids
    })
    .await;
    gone(&cache, put_only).await;
    assert_holds(&cache, refreshed, work(refreshed, 3)).await;
    put_late(&cache, refreshed, work(refreshed, 4)).await;
    assert_holds(&cache, refreshed, work(refreshed, 4)).await;
}

/// Nothing newer is there any more to reject it; that it is late does.
pub async fn an_older_value_stays_out_after_clearing(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 5)).await;
    filled(&cache, 2, Entry::Deleted).await;
    cache.clear(&position(1)).await.unwrap();
    put_late(&cache, 1, work(1, 4)).await;
    put_late(&cache, 2, work(2, 4)).await;
    refresh(&cache, 1, work(1, 4)).await;
    assert_holds_nothing(&cache, 1).await;
    assert_holds_nothing(&cache, 2).await;
}

/// As soon as there is something to tell.
pub async fn an_unknown_work_gives_way_to_a_put_and_to_a_refresh(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let (id, put_over, refreshed) = promptly(async |id| {
        for id in [id, id + 1_000] {
            let lease = lease(&cache, id).await;
            fill(&cache, id, lease, Entry::Unknown).await;
        }
        put(&cache, id, work(id, 1)).await;
        refresh(&cache, id + 1_000, work(id + 1_000, 1)).await;
        (id, look_up(&cache, id).await, look_up(&cache, id + 1_000).await)
    })
    .await;
    assert_eq!(put_over, EntryOrLease::Entry(work(id, 1)));
    assert_eq!(refreshed, EntryOrLease::Entry(work(id + 1_000, 1)));
}

/// Nor does it say anything to a refresher.
pub async fn unknown_is_never_put(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    put(&cache, 1, Entry::Unknown).await;
    assert!(!present(&cache, 1).await);
    filled(&cache, 1, work(1, 1)).await;
    put(&cache, 1, Entry::Unknown).await;
    refresh(&cache, 1, Entry::Unknown).await;
    assert_holds(&cache, 1, work(1, 1)).await;
}

/// Whatever its version, whoever comes.
pub async fn a_deleted_work_never_comes_back(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 1)).await;
    lease(&cache, 2).await;
    filled(&cache, 4, work(4, 1)).await;
    for id in [1, 2, 3] {
        put_late(&cache, id, Entry::Deleted).await;
    }
    refresh(&cache, 4, Entry::Deleted).await;
    for id in [1, 2, 3, 4] {
        put(&cache, id, work(id, i64::from(i32::MAX))).await;
        refresh(&cache, id, work(id, i64::from(i32::MAX))).await;
        assert_holds(&cache, id, Entry::Deleted).await;
    }
}

/// Longer than a value of it can be under way.
pub async fn a_deleted_work_outlives_others(fresh: Fresh) {
    let ttl = Duration::from_secs(1);
    let cache = fresh_since_now(fresh, CacheOptions { ttl, ..LASTING }).await;
    filled(&cache, 1, Entry::Deleted).await;
    put(&cache, 2, Entry::Deleted).await;
    filled(&cache, 3, work(3, 1)).await;
    gone(&cache, 3).await;
    for id in [1, 2] {
        assert_holds(&cache, id, Entry::Deleted).await;
    }
}
