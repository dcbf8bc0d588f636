//! What the cases share: caches that are fresh, works, and waiting.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pp_lib::cache::{AnyCache, CacheOptions, Entry, EntryOrLease, Lease, Marked, Moment};
use pp_lib::domain::{AddUpTo, KindName, Position, Snapshot, Status, Work, WorkCode, WorkId};

/// Makes an empty cache.
pub type Fresh = fn(CacheOptions) -> AnyCache;

/// Nothing expires and nothing becomes stale during a case.
pub(super) const LASTING: CacheOptions = CacheOptions {
    ttl: Duration::from_secs(600),
    staleness: Duration::from_secs(120),
};
const DEADLINE: Duration = Duration::from_secs(20);

/// A cache that stands at [`position`] 1 and is fresh from now on.
pub(super) async fn fresh_since_now(fresh: Fresh, options: CacheOptions) -> AnyCache {
    let cache = fresh(options);
    cache.clear(&position(1)).await.unwrap();
    let marked = cache.mark(&position(1), &position(1), cache.now().await.unwrap()).await;
    assert_eq!(marked.unwrap(), Marked::Marked);
    cache
}

pub(super) fn position(id: i64) -> Position {
    Position::at(7, Arc::new(Snapshot::before(id)))
}

pub(super) fn work(id: i64, version: i64) -> Entry {
    Entry::Work(Work {
        id: WorkId(id),
        work_code: code(id),
        kind: KindName::default(),
        args: AddUpTo::MAX.args(),
        created_on: 1_634_115_736,
        updated_on: 1_634_115_736 + version,
        status: Status::Done,
        result: Some(i64::MAX.into()),
        version,
        run_at: (version % 2 == 0).then_some(1_634_115_000),
        unique: None,
        error: None,
        attempt: 1,
        progress: None,
    })
}

pub(super) fn code(id: i64) -> WorkCode {
    format!("api-{id:010}").parse().unwrap()
}

pub(super) async fn look_up(cache: &AnyCache, id: i64) -> EntryOrLease {
    let found = cache.look_up(&[WorkId(id)]).await.unwrap().found;
    assert_eq!(found.len(), 1);
    found[0].clone()
}

/// The lease of a work that nothing is known of.
pub(super) async fn lease(cache: &AnyCache, id: i64) -> Lease {
    match look_up(cache, id).await {
        EntryOrLease::Missing(lease) => lease,
        other => panic!("{other:?} instead of a lease"),
    }
}

pub(super) async fn fill(cache: &AnyCache, id: i64, lease: Lease, entry: Entry) {
    cache.fill(&[(WorkId(id), lease, entry)]).await.unwrap();
}

/// Has an entry filled in, however often its lease ends before.
pub(super) async fn filled(cache: &AnyCache, id: i64, entry: Entry) {
    eventually(async || {
        if let EntryOrLease::Missing(lease) = look_up(cache, id).await {
            fill(cache, id, lease, entry.clone()).await;
        }
        look_up(cache, id).await == EntryOrLease::Entry(entry.clone())
    })
    .await;
}

pub(super) async fn put(cache: &AnyCache, id: i64, entry: Entry) {
    put_since(cache, id, entry, cache.now().await.unwrap()).await;
}

/// Puts what was read long before what is put at once becomes late.
pub(super) async fn put_late(cache: &AnyCache, id: i64, entry: Entry) {
    put_since(cache, id, entry, ago(cache, LASTING.staleness).await).await;
}

pub(super) async fn ago(cache: &AnyCache, duration: Duration) -> Moment {
    let duration_ms = i64::try_from(duration.as_millis()).unwrap();
    Moment(cache.now().await.unwrap().0 - duration_ms)
}

async fn put_since(cache: &AnyCache, id: i64, entry: Entry, since: Moment) {
    cache.put(&[(WorkId(id), entry)], since).await.unwrap();
}

pub(super) async fn refresh(cache: &AnyCache, id: i64, entry: Entry) {
    cache.refresh(&[(WorkId(id), entry)]).await.unwrap();
}

pub(super) async fn present(cache: &AnyCache, id: i64) -> bool {
    cache.present(&[WorkId(id)]).await.unwrap() == [true]
}

pub(super) async fn assert_holds(cache: &AnyCache, id: i64, entry: Entry) {
    assert_eq!(look_up(cache, id).await, EntryOrLease::Entry(entry));
}

pub(super) async fn assert_holds_nothing(cache: &AnyCache, id: i64) {
    let found = look_up(cache, id).await;
    assert!(!matches!(found, EntryOrLease::Entry(_)), "{found:?}");
}

/// Waits until an entry is gone.
pub(super) async fn gone(cache: &AnyCache, id: i64) {
    eventually(async || !matches!(look_up(cache, id).await, EntryOrLease::Entry(_))).await;
}

/// Waits until something is true.
pub(super) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a scenario came to that did not take longer than the shortest of the lifetimes it is about allows: it is played
/// again, with another work, for as long as this machine was busy with others.
pub(super) async fn promptly<T, F: Future<Output = T>>(mut scenario: impl FnMut(i64) -> F) -> T {
    for id in 1_000.. {
        let began = Instant::now();
        let outcome = scenario(id).await;
        if began.elapsed() < Duration::from_millis(800) {
            return outcome;
        }
        assert!(id < 1_100, "this machine is too slow");
    }
    unreachable!("there are ids enough")
}
