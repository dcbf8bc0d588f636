//! Reading works through the cache, with a store and a cache that fail on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pp_conformance::scripted::{Call, ScriptedStore};
use pp_conformance::store::new_works;
use pp_lib::cache::memory::MemoryCache;
use pp_lib::cache::{
    AnyCache, ByCode, Cache, CacheError, CacheOptions, Entry, Lease, LookedUp, Marked, Moment, Provisional, Result,
};
use pp_lib::domain::{AddUpTo, KindName, Position, Principal, Work, WorkCode, WorkId};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::runtime::new_message_id;
use pp_lib::runtime::{Health, State};
use pp_lib::serving::{ActorError, StoreOptions, Works};
use pp_lib::serving::{Caches, CreateWork, Near, Read, Serving, Source, WorkOrDemand};
use pp_lib::store::{AnyStore, Changed, RetentionTimes, StoreError};

use crate::store::embedded;

const OPTIONS: CacheOptions = CacheOptions {
    ttl: Duration::from_secs(300),
    staleness: Duration::from_secs(1),
};

/// The store calls by which the serving side reads works and the feed.
const READS: [Call; 3] = [Call::ByIds, Call::ByCodes, Call::Touched];

/// The serving side over a SQLite file.
struct Rig {
    works: Works,
    store: Arc<ScriptedStore>,
    cache: Arc<Moody>,
    health: Health,
    serving: Serving,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        Self::with(OPTIONS, None).await
    }

    async fn with(options: CacheOptions, near: Option<Arc<Near>>) -> Self {
        let (store, folder) = embedded::fresh().await;
        let store = ScriptedStore::new(store);
        let cache = Arc::new(Moody::new(options));
        let shared: AnyCache = cache.clone();
        let caches = Caches {
            cache: shared,
            near,
            staleness: options.staleness,
        };
        let (any, feed, health): (AnyStore, AnyFeed, _) = (store.clone(), Arc::new(MemoryFeed::new()), Health::new());
        let (serving, works) = Serving::start(&any, &feed, &caches, StoreOptions::default(), &health);
        let rig = Self {
            works,
            store,
            cache,
            health,
            serving,
            _folder: folder,
        };
        rig.is_fresh().await;
        rig
    }

    /// Waits until reads are served from the cache. It may miss writes until its clock is known.
    async fn is_fresh(&self) {
        eventually(|| async {
            let work = self.create(1).await;
            matches!(self.read(work.id).await.source, Source::Cache | Source::Near)
        })
        .await;
    }

    async fn create(&self, add_up_to: i64) -> Work {
        let wanted = CreateWork {
            args: AddUpTo::try_from(add_up_to).ok().map(AddUpTo::args),
            ..CreateWork::default()
        };
        self.works.create(wanted, new_message_id()).await.unwrap().work
    }

    async fn read(&self, id: WorkId) -> Read<Option<Work>> {
        self.works.by_id(id).await.unwrap()
    }

    /// Waits until the refresher has caught up and so confirmed all writes.
    async fn is_caught_up(&self) {
        eventually(|| async {
            let head = self.store.inner().head().await.unwrap();
            // An empty cache is at the head before its first round but only marked after it.
            let marked = self.cache.inner.look_up(&[]).await.unwrap().fresh;
            marked && self.cache.inner.position().await.unwrap() == Some(head)
        })
        .await;
    }

    fn cache_state(&self) -> State {
        let parts = self.health.report().parts;
        parts.iter().find(|part| part.name == "cache").unwrap().state
    }

    /// Creates a work without the caches noticing.
    async fn behind_the_back(&self, add_up_to: i64) -> Work {
        let created = self.store.inner().create(&new_works([add_up_to])).await.unwrap();
        created.into_iter().next().flatten().unwrap().work
    }
}

async fn eventually<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 20 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn bound(number: i64) -> AddUpTo {
    AddUpTo::try_from(number).unwrap()
}

/// A purge emits no event. A refresher that was away this long may have missed other events as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresher_whose_position_was_purged_empties_the_cache() {
    let rig = Rig::new().await;
    let work = rig.create(4).await;
    assert_eq!(rig.read(work.id).await.source, Source::Cache);
    rig.is_caught_up().await;
    rig.store.fail(&READS, StoreError::Unavailable("it is away".to_owned()));
    let gone = rig.behind_the_back(5).await;
    for id in [work.id, gone.id] {
        let deleted = rig.store.inner().delete(&Principal::Open, id, None).await.unwrap();
        assert_eq!(deleted, Changed::Applied(()));
    }
    let gone = AtomicUsize::new(0);
    eventually(|| async {
        let purged = rig
            .store
            .inner()
            .purge(WorkId(0), &RetentionTimes::all(Duration::ZERO), 100)
            .await
            .unwrap();
        gone.fetch_add(purged.works as usize, Ordering::SeqCst) + purged.works as usize == 2
    })
    .await;
    rig.behind_the_back(6).await;
    rig.store.pass_on(&READS);
    eventually(|| async { rig.read(work.id).await.value.is_none() }).await;
    rig.is_caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_reads_its_own_writes_from_the_cache() {
    let rig = Rig::new().await;
    let work = rig.create(4).await;
    let read = rig.read(work.id).await;
    assert_eq!((read.value.as_ref(), read.source), (Some(&work), Source::Cache));

    let Changed::Applied(updated) = rig
        .works
        .update(&Principal::Open, work.id, bound(5).args(), None)
        .await
        .unwrap()
    else {
        panic!("it was not updated")
    };
    let read = rig.read(work.id).await;
    assert_eq!((read.value.as_ref(), read.source), (Some(&updated), Source::Cache));

    assert_eq!(
        rig.works.delete(&Principal::Open, work.id, None).await.unwrap(),
        Changed::Applied(())
    );
    let read = rig.read(work.id).await;
    assert_eq!((read.value, read.source), (None, Source::Cache));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_behind_the_cache_reach_it() {
    let rig = Rig::new().await;
    let work = rig.behind_the_back(4).await;
    let first = rig.read(work.id).await;
    assert_eq!(first.value.as_ref(), Some(&work));
    rig.store
        .inner()
        .update(&Principal::Open, work.id, &bound(9).args(), None, Duration::ZERO)
        .await
        .unwrap();
    eventually(|| async { rig.read(work.id).await.value.unwrap().add_up_to() == Some(bound(9)) }).await;
    rig.store.inner().delete(&Principal::Open, work.id, None).await.unwrap();
    eventually(|| async { rig.read(work.id).await.value.is_none() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_readers_of_a_cold_work_share_one_read_of_the_store() {
    // The staleness is long, so that the refresher does not read meanwhile.
    let options = CacheOptions {
        staleness: Duration::from_secs(120),
        ..OPTIONS
    };
    let rig = Rig::with(options, None).await;
    // The refresher has caught up but may still get the poke of the rig's own work. The gate keeps it from reading.
    rig.is_caught_up().await;
    rig.cache.refreshable.store(false, Ordering::SeqCst);
    let work = rig.behind_the_back(4).await;
    let before = rig.store.calls(Call::ByIds);
    let reads = rig.store.hold(&[Call::ByIds]);
    let asked = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..1000)
        .map(|_| {
            let (works, id, asked) = (rig.works.clone(), work.id, Arc::clone(&asked));
            tokio::spawn(async move {
                asked.fetch_add(1, Ordering::SeqCst);
                works.by_id(id).await
            })
        })
        .collect();
    eventually(|| async { asked.load(Ordering::SeqCst) == 1000 }).await;
    reads.end();
    let mut sources = Vec::new();
    for reader in readers {
        let read = reader.await.unwrap().unwrap();
        assert_eq!(read.value.as_ref(), Some(&work));
        sources.push(read.source);
    }
    let reads = rig.store.calls(Call::ByIds) - before;
    let led = sources
        .iter()
        .filter(|source| matches!(source, Source::Store { collapsed: false, .. }))
        .count();
    assert_eq!(led, 1, "one led");
    assert_eq!(reads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_is_remembered_until_it_is_known() {
    let rig = Rig::new().await;
    let last = rig.create(1).await;
    let next = WorkId(last.id.0 + 1);
    assert_eq!(rig.read(next).await.value, None);
    eventually(|| async { rig.read(next).await == cached(None) }).await;
    let created = rig.create(7).await;
    assert_eq!(created.id, next);
    assert_eq!(rig.read(next).await.value, Some(created));
}

fn cached(value: Option<Work>) -> Read<Option<Work>> {
    let source = Source::Cache;
    Read { value, source }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_resolved_through_its_id() {
    let rig = Rig::new().await;
    let work = rig.create(4).await;
    let code = |code: &WorkCode| rig.works.by_code(code.clone());
    let first = code(&work.work_code).await.unwrap();
    assert!(matches!(first.source, Source::Store { stored: true, .. }), "{first:?}");
    let second = code(&work.work_code).await.unwrap();
    assert_eq!(second.value, first.value);
    assert_eq!(second.source, Source::Cache);
    rig.works.delete(&Principal::Open, work.id, None).await.unwrap();
    assert_eq!(code(&work.work_code).await.unwrap().value, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_entries_are_served_while_the_store_is_unavailable() {
    let rig = Rig::new().await;
    let work = rig.create(4).await;
    rig.is_caught_up().await;
    rig.store.fail(&READS, StoreError::Unavailable("it is away".to_owned()));
    eventually(|| async { rig.read(work.id).await.source == Source::Stale }).await;
    assert_eq!(rig.read(work.id).await.value, Some(work.clone()));
    // A work in no cache cannot be served.
    let missing = rig.works.by_id(WorkId(999_999)).await;
    assert!(
        matches!(missing, Err(ActorError::Store(StoreError::Unavailable(_)))),
        "{missing:?}"
    );
    rig.store.pass_on(&READS);
    eventually(|| async { rig.read(work.id).await.source == Source::Cache }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_cache_is_bypassed_until_it_recovers() {
    let rig = Rig::new().await;
    let work = rig.create(4).await;
    for mood in [FAILING, HANGING, PANICKING] {
        rig.cache.mood.store(mood, Ordering::SeqCst);
        eventually(|| async {
            let read = rig.read(work.id).await;
            assert_eq!(read.value.as_ref(), Some(&work));
            rig.create(1).await;
            rig.cache_state() == State::Down
        })
        .await;
        // Only probes are sent to it now.
        let asked = rig.cache.look_ups.load(Ordering::SeqCst);
        for _ in 0..10 {
            let read = rig.read(work.id).await;
            assert_eq!((read.value.as_ref(), read.source), (Some(&work), Source::Bypass));
        }
        assert_eq!(rig.cache.look_ups.load(Ordering::SeqCst), asked);
        rig.cache.mood.store(WELL, Ordering::SeqCst);
        eventually(|| async { rig.read(work.id).await.source == Source::Cache }).await;
    }
    rig.serving.stop(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_is_found_by_its_code_even_if_the_cache_missed_it() {
    let rig = Rig::new().await;
    let demand = |code: &str| Provisional {
        message_id: code.to_owned().try_into().unwrap(),
        work_code: code.parse().unwrap(),
        kind: KindName::default(),
        args: bound(4).args(),
        unique: None,
        created_on: 1,
    };
    let (told, untold) = (demand("consumer-0000000001"), demand("consumer-0000000002"));
    let by_code = |demand: &Provisional| rig.works.by_code(demand.work_code.clone());
    rig.works.remember(told.clone()).await;
    assert_eq!(
        by_code(&told).await.unwrap().value,
        Some(WorkOrDemand::Provisional(told.clone()))
    );
    rig.cache.mood.store(FAILING, Ordering::SeqCst);
    rig.works.remember(untold.clone()).await;
    assert_eq!(
        by_code(&untold).await.unwrap().value,
        Some(WorkOrDemand::Provisional(untold.clone()))
    );
    // Another process may have accepted this demand, so its absence is uncertain.
    let unsure = by_code(&demand("consumer-0000000003")).await;
    assert!(matches!(unsure, Err(ActorError::Unsure)), "{unsure:?}");
    let none = rig.works.by_code("api-0000000003".parse().unwrap()).await.unwrap();
    assert_eq!(none.value, None);
    rig.cache.mood.store(WELL, Ordering::SeqCst);
    eventually(|| async { rig.cache_state() == State::Up }).await;
    assert_eq!(
        by_code(&untold).await.unwrap().value,
        Some(WorkOrDemand::Provisional(untold.clone()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_near_cache_answers_first_and_follows_changes() {
    let near = Near::new(Arc::new(MemoryCache::new(OPTIONS)), OPTIONS.staleness);
    let rig = Rig::with(OPTIONS, Some(Arc::new(near))).await;
    let work = rig.behind_the_back(4).await;
    eventually(|| async { rig.read(work.id).await.source == Source::Near }).await;
    rig.store
        .inner()
        .update(&Principal::Open, work.id, &bound(9).args(), None, Duration::ZERO)
        .await
        .unwrap();
    eventually(|| async { rig.read(work.id).await.value.unwrap().add_up_to() == Some(bound(9)) }).await;
    eventually(|| async { rig.read(work.id).await.source == Source::Near }).await;
    let Changed::Applied(updated) = rig
        .works
        .update(&Principal::Open, work.id, bound(5).args(), None)
        .await
        .unwrap()
    else {
        panic!("it was not updated")
    };
    assert_eq!(rig.read(work.id).await.value, Some(updated));
    rig.works.delete(&Principal::Open, work.id, None).await.unwrap();
    assert_eq!(rig.read(work.id).await.value, None);
}

const WELL: usize = 0;
const FAILING: usize = 1;
const HANGING: usize = 2;
const PANICKING: usize = 3;

/// A cache in memory that fails like a remote one.
struct Moody {
    inner: MemoryCache,
    mood: AtomicUsize,
    /// The number of look-ups.
    look_ups: AtomicUsize,
    /// Blocks the refresher before it reads works, if closed.
    refreshable: AtomicBool,
}

impl Moody {
    fn new(options: CacheOptions) -> Self {
        Self {
            inner: MemoryCache::new(options),
            mood: AtomicUsize::new(WELL),
            look_ups: AtomicUsize::new(0),
            refreshable: AtomicBool::new(true),
        }
    }

    async fn act(&self) -> Result<()> {
        let mood = self.mood.load(Ordering::SeqCst);
        assert!(mood != PANICKING, "panicking on demand");
        if mood == HANGING {
            // The timeout of an adapter's call.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match mood {
            WELL => Ok(()),
            _ => Err(CacheError::Unavailable("it is away".into())),
        }
    }
}

#[async_trait]
impl Cache for Moody {
    async fn look_up(&self, ids: &[WorkId]) -> Result<LookedUp> {
        self.look_ups.fetch_add(ids.len(), Ordering::SeqCst);
        self.act().await?;
        self.inner.look_up(ids).await
    }

    async fn fill(&self, entries: &[(WorkId, Lease, Entry)]) -> Result<()> {
        self.act().await?;
        self.inner.fill(entries).await
    }

    async fn put(&self, entries: &[(WorkId, Entry)], since: Moment) -> Result<()> {
        self.act().await?;
        self.inner.put(entries, since).await
    }

    async fn present(&self, ids: &[WorkId]) -> Result<Vec<bool>> {
        self.act().await?;
        if !self.refreshable.load(Ordering::SeqCst) {
            return Err(CacheError::Unavailable("no refresher".into()));
        }
        self.inner.present(ids).await
    }

    async fn refresh(&self, entries: &[(WorkId, Entry)]) -> Result<()> {
        self.act().await?;
        self.inner.refresh(entries).await
    }

    async fn mark(&self, from: &Position, to: &Position, since: Moment) -> Result<Marked> {
        self.act().await?;
        self.inner.mark(from, to, since).await
    }

    async fn position(&self) -> Result<Option<Position>> {
        self.act().await?;
        self.inner.position().await
    }

    async fn clear(&self, at: &Position) -> Result<()> {
        self.act().await?;
        self.inner.clear(at).await
    }

    async fn now(&self) -> Result<Moment> {
        self.act().await?;
        self.inner.now().await
    }

    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Option<ByCode>>> {
        self.act().await?;
        self.inner.by_codes(codes).await
    }

    async fn put_codes(&self, entries: &[(WorkCode, ByCode)]) -> Result<()> {
        self.act().await?;
        self.inner.put_codes(entries).await
    }

    async fn take_accepted(&self, age: Duration, limit: usize) -> Result<Vec<WorkCode>> {
        self.act().await?;
        self.inner.take_accepted(age, limit).await
    }

    async fn drop_accepted(&self, codes: &[WorkCode]) -> Result<()> {
        self.act().await?;
        self.inner.drop_accepted(codes).await
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    async fn name(&self) -> Result<String> {
        self.act().await?;
        self.inner.name().await
    }
}
