//! The one who brings the cache up to date and says how far it is.

use std::time::Duration;

use super::fixtures::*;
use pp_lib::cache::{ByCode, Entry, EntryOrLease, Marked, Moment};
use pp_lib::domain::WorkId;

/// And is told in the order of the question.
pub async fn what_is_present_has_an_entry_or_a_lease(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 1)).await;
    put(&cache, 2, work(2, 1)).await;
    filled(&cache, 3, Entry::Deleted).await;
    let with_lease = promptly(async |id| {
        lease(&cache, id).await;
        cache.present(&[9, id, 3, 8, 2, 1].map(WorkId)).await.unwrap()
    })
    .await;
    assert_eq!(with_lease, [false, true, true, false, true, true]);
}

/// What nobody asks for takes no room.
pub async fn a_refresh_brings_nothing_in(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    refresh(&cache, 1, work(1, 1)).await;
    refresh(&cache, 2, Entry::Deleted).await;
    assert_eq!(cache.present(&[1, 2].map(WorkId)).await.unwrap(), [false, false]);
}

/// With it what somebody read before the change; who reads after it may fill that in.
pub async fn a_refresh_takes_leases_away(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let lease = lease(&cache, 1).await;
    refresh(&cache, 1, work(1, 2)).await;
    assert!(!present(&cache, 1).await);
    fill(&cache, 1, lease, work(1, 1)).await;
    assert_holds_nothing(&cache, 1).await;
    cache.clear(&position(1)).await.unwrap();
    let now = cache.now().await.unwrap();
    cache.mark(&position(1), &position(1), now).await.unwrap();
    filled(&cache, 1, work(1, 2)).await;
}

/// Whichever way it came in.
pub async fn a_refresh_brings_up_to_date_and_never_back(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    filled(&cache, 1, work(1, 5)).await;
    put(&cache, 2, work(2, 5)).await;
    for id in [1, 2] {
        for (refreshed, left) in [(4, 5), (5, 5), (6, 6), (5, 6), (10, 10), (9, 10)] {
            refresh(&cache, id, work(id, refreshed)).await;
            assert_holds(&cache, id, work(id, left)).await;
        }
    }
}

/// It has to be cleared before anything can be said of it.
pub async fn a_new_cache_is_nowhere(fresh: Fresh) {
    let cache = fresh(LASTING);
    assert_eq!(cache.position().await.unwrap(), None);
    let now = cache.now().await.unwrap();
    let marked = cache.mark(&position(1), &position(2), now).await.unwrap();
    assert_eq!(marked, Marked::Nowhere);
    assert_eq!(cache.position().await.unwrap(), None);
    assert!(!cache.look_up(&[WorkId(1)]).await.unwrap().fresh);
    cache.clear(&position(1)).await.unwrap();
    assert_eq!(cache.position().await.unwrap(), Some(position(1)));
}

/// Of two refreshers one notices the other.
pub async fn a_mark_leads_from_place_to_place(fresh: Fresh) {
    let cache = fresh(LASTING);
    cache.clear(&position(1)).await.unwrap();
    let now = cache.now().await.unwrap();
    let marked = cache.mark(&position(2), &position(3), now).await.unwrap();
    assert_eq!(marked, Marked::At(position(1)));
    assert!(!cache.look_up(&[]).await.unwrap().fresh, "a refused mark says nothing");
    let marked = cache.mark(&position(1), &position(3), now).await.unwrap();
    assert_eq!(marked, Marked::Marked);
    assert!(cache.look_up(&[]).await.unwrap().fresh);
    let marked = cache.mark(&position(1), &position(2), now).await.unwrap();
    assert_eq!(marked, Marked::At(position(3)));
    assert_eq!(cache.position().await.unwrap(), Some(position(3)));
}

/// But the place is right.
pub async fn a_mark_that_comes_too_late_is_as_good_as_none(fresh: Fresh) {
    let cache = fresh(LASTING);
    cache.clear(&position(1)).await.unwrap();
    let since = ago(&cache, LASTING.staleness + Duration::from_millis(1)).await;
    let marked = cache.mark(&position(1), &position(2), since).await.unwrap();
    assert_eq!(marked, Marked::Marked);
    assert!(!cache.look_up(&[]).await.unwrap().fresh);
    assert_eq!(cache.position().await.unwrap(), Some(position(2)));
}

/// A mark of an older poll does not end what a newer one said.
pub async fn freshness_never_goes_back(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let almost = LASTING.staleness - Duration::from_secs(1);
    let since = ago(&cache, almost).await;
    let marked = cache.mark(&position(1), &position(1), since).await.unwrap();
    assert_eq!(marked, Marked::Marked);
    let began = cache.now().await.unwrap();
    eventually(async || cache.now().await.unwrap() > Moment(began.0 + 1_200)).await;
    assert!(cache.look_up(&[]).await.unwrap().fresh);
}

/// A clock that was set back must not make anything fresh for longer.
pub async fn a_mark_of_the_future_is_none(fresh: Fresh) {
    let cache = fresh(LASTING);
    cache.clear(&position(1)).await.unwrap();
    let since = Moment(cache.now().await.unwrap().0 + 3_600_000);
    cache.mark(&position(1), &position(2), since).await.unwrap();
    assert!(!cache.look_up(&[]).await.unwrap().fresh);
    cache.put(&[(WorkId(1), work(1, 1))], since).await.unwrap();
    assert_holds_nothing(&cache, 1).await;
    let now = cache.now().await.unwrap();
    cache.mark(&position(2), &position(3), now).await.unwrap();
    assert!(cache.look_up(&[]).await.unwrap().fresh);
}

/// The rest of its deployment is forgotten.
pub async fn clearing_leaves_nothing_but_the_place(fresh: Fresh) {
    let cache = fresh_since_now(fresh, LASTING).await;
    let other = fresh_since_now(fresh, LASTING).await;
    for cache in [&cache, &other] {
        filled(cache, 1, work(1, 1)).await;
        put(cache, 2, Entry::Deleted).await;
        cache.put_codes(&[(code(1), ByCode::Id(WorkId(1)))]).await.unwrap();
    }
    cache.clear(&position(5)).await.unwrap();
    let looked_up = cache.look_up(&[1, 2].map(WorkId)).await.unwrap();
    assert!(!looked_up.fresh);
    assert_eq!(looked_up.found, [EntryOrLease::Nothing, EntryOrLease::Nothing]);
    assert_eq!(cache.by_codes(&[code(1)]).await.unwrap(), [None]);
    assert_eq!(cache.position().await.unwrap(), Some(position(5)));
    assert_holds(&other, 1, work(1, 1)).await;
    assert_holds(&other, 2, Entry::Deleted).await;
    assert_eq!(other.position().await.unwrap(), Some(position(1)));
    let kept = other.by_codes(&[code(1)]).await.unwrap();
    assert_eq!(kept, [Some(ByCode::Id(WorkId(1)))]);
}

/// What only one of those who share a cache does goes by its name.
pub async fn a_cache_keeps_its_name_and_no_other_has_it(fresh: Fresh) {
    let (cache, other) = (fresh(LASTING), fresh(LASTING));
    let name = cache.name().await.unwrap();
    cache.clear(&position(1)).await.unwrap();
    assert_eq!(cache.name().await.unwrap(), name);
    assert_ne!(other.name().await.unwrap(), name);
}
