//! The API's entry point: works go through the caches, everything else goes straight to the store. Each kind of request
//! has its own gate, so that a flood of one kind does not block the others.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::cache::{ByCode, Entry, Provisional};
use crate::domain::{
    ApiKeyId, CreatedWork, DeadLetter, DeadLetterId, Event, Json, KindName, LetterGroup, MessageId, Origin, Principal,
    Seconds, Stats, Work, WorkCode, WorkId, WorksPerDay,
};
use crate::serving::gate::Gate;
use crate::serving::metrics;
use crate::serving::read::Reader;
use crate::serving::tiered::TierMoments;
use crate::serving::vanished::joined_since;
use crate::serving::{ActorError, CacheHandle, CreateWork, Near, Read, StoreHandle, StoreOptions, WorkOrDemand};
use crate::store::{Changed, KeyWorks, LetterFilter, Search, Selection};

/// Creates, changes and reads works for the API. Every call fails if the store refuses it or cannot be reached, or if
/// too many calls wait. Clones share their state.
#[derive(Clone)]
pub struct Works(Arc<Inner>);

/// A key with a bound of the works that it may create in a day.
#[derive(Clone, Copy, Debug)]
pub struct BoundedKey {
    /// The key.
    pub id: ApiKeyId,
    /// Its bound.
    pub most: WorksPerDay,
}

struct Inner {
    store: StoreHandle,
    reader: Reader,
    gates: Gates,
    tasks: TaskTracker,
}

struct Gates {
    creates: Gate,
    bulks: Gate,
    updates: Gate,
    cancels: Gate,
    retries: Gate,
    deletes: Gate,
    ids: Gate,
    codes: Gate,
    searches: Gate,
    counts: Gate,
    histories: Gate,
    letters: Gate,
    groups: Gate,
    redrives: Gate,
    drops: Gate,
    stats_of_kinds: Gate,
    seconds: Gate,
}

impl Works {
    /// Works over a store and its caches. Cached works are at most `staleness` old.
    pub(super) fn new(
        store: StoreHandle,
        cache: CacheHandle,
        near: Option<Arc<Near>>,
        staleness: Duration,
        options: StoreOptions,
    ) -> Self {
        let tasks = TaskTracker::new();
        // Batched requests need no lanes: the actors bound their concurrency.
        let batched = |name| Gate::new(name, options.mailbox.saturating_mul(2), usize::MAX, &tasks);
        let single = |name| Gate::new(name, options.mailbox, options.read_lanes, &tasks);
        let gates = Gates {
            creates: batched("works: create"),
            ids: batched("works: by id"),
            codes: batched("works: by code"),
            bulks: single("works: create all"),
            updates: single("works: update"),
            cancels: single("works: cancel"),
            retries: single("works: retry"),
            deletes: single("works: delete"),
            searches: single("works: search"),
            counts: single("works: count"),
            histories: single("works: events"),
            letters: single("works: dead letters"),
            groups: single("works: groups of dead letters"),
            redrives: single("works: redrive"),
            drops: single("works: drop dead letters"),
            stats_of_kinds: single("works: stats of a kind"),
            seconds: single("works: seconds"),
        };
        let reader = Reader::new(store.clone(), cache, near, staleness);
        Self(Arc::new(Inner {
            store,
            reader,
            gates,
            tasks,
        }))
    }

    /// Refuses further requests and waits for those under way.
    pub(super) async fn stop(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(super) fn store(&self) -> &StoreHandle {
        &self.0.store
    }

    /// Counts works that the caller is about to create for its key, if that has a bound. Works that are not created after all
    /// stay counted.
    pub async fn count(&self, key: Option<BoundedKey>, works: usize) -> Result<(), ActorError> {
        let Some(BoundedKey { id, most }) = key else {
            return Ok(());
        };
        let works = u32::try_from(works).unwrap_or(u32::MAX);
        self.0.store.count_works(KeyWorks { id, works, most }).await
    }

    /// Creates a work under this identity, or returns the work that already has it or its `unique`. The work is committed
    /// on return, and the next read finds it.
    pub async fn create(&self, wanted: CreateWork, message_id: MessageId) -> Result<CreatedWork, ActorError> {
        let inner = Arc::clone(&self.0);
        let creating = async move {
            let since = inner.reader.now().await;
            let created = inner.store.create(wanted, message_id).await?;
            let entry = (created.work.id, Entry::Work(created.work.clone()));
            inner.reader.written(vec![entry], since).await;
            Ok(created)
        };
        self.0.gates.creates.run(creating).await
    }

    /// Creates all works or none, under identities derived from `seed` and their positions. Returns the existing works
    /// if these identities are taken.
    pub async fn create_all(&self, wanted: Vec<CreateWork>, seed: MessageId) -> Result<Vec<CreatedWork>, ActorError> {
        let inner = Arc::clone(&self.0);
        let creating = async move {
            let since = inner.reader.now().await;
            let created = inner.store.create_all(&wanted, &seed).await?;
            let entry = |CreatedWork { work, .. }: &CreatedWork| (work.id, Entry::Work(work.clone()));
            inner.reader.written(created.iter().map(entry).collect(), since).await;
            Ok(created)
        };
        self.0.gates.bulks.run(creating).await
    }

    /// Changes the arguments of a work. A given `version` must match.
    pub async fn update(
        &self,
        by: &Principal,
        id: WorkId,
        args: Json,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        let (inner, by) = (Arc::clone(&self.0), by.clone());
        let updating = async move { inner.change(id, inner.store.update(&by, id, &args, version)).await };
        self.0.gates.updates.run(updating).await
    }

    /// Cancels a pending or running work. A given `version` must match.
    pub async fn cancel(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        let (inner, by) = (Arc::clone(&self.0), by.clone());
        let cancelling = async move { inner.change(id, inner.store.cancel(&by, id, version)).await };
        self.0.gates.cancels.run(cancelling).await
    }

    /// Restarts a failed or cancelled work. A given `version` must match.
    pub async fn retry(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        let (inner, by) = (Arc::clone(&self.0), by.clone());
        let retrying = async move { inner.change(id, inner.store.retry(&by, id, version)).await };
        self.0.gates.retries.run(retrying).await
    }

    /// Cancels and removes a work. A given `version` must match.
    pub async fn delete(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        let (inner, by) = (Arc::clone(&self.0), by.clone());
        let deleting = async move { inner.delete(&by, id, version).await };
        self.0.gates.deletes.run(deleting).await
    }

    /// The work with this id.
    pub async fn by_id(&self, id: WorkId) -> Result<Read<Option<Work>>, ActorError> {
        let miss = match self.0.reader.near(id).await {
            Ok(read) => return Ok(counted(read)),
            Err(miss) => miss,
        };
        let inner = Arc::clone(&self.0);
        let reading = async move { inner.reader.by_id(id, miss).await };
        self.0.gates.ids.run(reading).await.map(counted)
    }

    /// The moments before a change that is not made here, for [`Self::written`].
    pub(super) async fn moments(&self) -> TierMoments {
        self.0.reader.now().await
    }

    /// Makes works visible to the next read that were changed after these moments.
    pub(super) async fn written(&self, works: Vec<Work>, since: TierMoments) {
        if !works.is_empty() {
            let entries = works.into_iter().map(|work| (work.id, Entry::Work(work))).collect();
            self.0.reader.written(entries, since).await;
        }
    }

    /// The work with this id straight from the store, past the caches.
    pub async fn newest(&self, id: WorkId) -> Result<Option<Work>, ActorError> {
        self.0.store.by_id(id).await
    }

    /// Remembers an accepted demand under its code: in the shared cache, or in this process while the cache is
    /// unavailable.
    pub async fn remember(&self, demand: Provisional) {
        let code = demand.work_code.clone();
        let codes = self.0.reader.codes();
        codes.remember(code, ByCode::Provisional(demand)).await;
    }

    /// Lets the code of a demand lead to the work that it was joined to, if it has no work of its own.
    pub(super) async fn joined(&self, demand: &Provisional) -> Result<(), ActorError> {
        let (Some(unique), store) = (&demand.unique, &self.0.store) else {
            return Ok(());
        };
        if store.by_code(demand.work_code.clone()).await?.is_none()
            && let Some(work) = store.by_unique(&demand.kind, unique, joined_since(demand)).await?
        {
            let code = demand.work_code.clone();
            self.0.reader.codes().remember(code, ByCode::Id(work.id)).await;
        }
        Ok(())
    }

    /// The work with this code, or the accepted demand for it.
    pub async fn by_code(&self, code: WorkCode) -> Result<Read<Option<WorkOrDemand>>, ActorError> {
        let inner = Arc::clone(&self.0);
        let reading = async move { inner.reader.by_code(code).await };
        self.0.gates.codes.run(reading).await.map(counted)
    }

    /// The matching works, newest first.
    pub async fn search(&self, search: Search) -> Result<Vec<Work>, ActorError> {
        let store = self.0.store.clone();
        let searching = async move { store.search(&search).await };
        self.0.gates.searches.run(searching).await
    }

    /// The number of matching works, at most `most`.
    pub async fn count_matching(&self, search: Search, most: u32) -> Result<u32, ActorError> {
        let store = self.0.store.clone();
        let counting = async move { store.count(&search, most).await };
        self.0.gates.counts.run(counting).await
    }

    /// The events of a work with ids above `after`, oldest first, or `None` for an unknown work.
    pub async fn events(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>, ActorError> {
        let store = self.0.store.clone();
        let reading = async move { store.events(id, after, limit).await };
        self.0.gates.histories.run(reading).await
    }

    /// The matching dead letters with ids below `before`, newest first.
    pub async fn dead_letters(
        &self,
        filter: LetterFilter,
        before: Option<DeadLetterId>,
        limit: u16,
    ) -> Result<Vec<DeadLetter>, ActorError> {
        let store = self.0.store.clone();
        let reading = async move { store.dead_letters(&filter, before, limit).await };
        self.0.gates.letters.run(reading).await
    }

    /// The dead letters by kind and beginning of their reason, the largest groups first.
    pub async fn letter_groups(&self, kind: Option<KindName>, limit: u16) -> Result<Vec<LetterGroup>, ActorError> {
        let store = self.0.store.clone();
        let reading = async move { store.letter_groups(kind.as_ref(), limit).await };
        self.0.gates.groups.run(reading).await
    }

    /// Redrives dead letters, or only counts those that would be redriven. Returns their number.
    pub async fn redrive(&self, by: &Principal, which: Selection, dry_run: bool) -> Result<u64, ActorError> {
        let (store, by) = (self.0.store.clone(), by.clone());
        let redriving = async move { store.redrive(&by, &which, dry_run).await };
        self.0.gates.redrives.run(redriving).await
    }

    /// Deletes dead letters, or only counts those that would be deleted. Returns their number.
    pub async fn drop_letters(&self, by: &Principal, which: Selection, dry_run: bool) -> Result<u64, ActorError> {
        let (store, by) = (self.0.store.clone(), by.clone());
        let dropping = async move { store.drop_letters(&by, &which, dry_run).await };
        self.0.gates.drops.run(dropping).await
    }

    /// The counters of all works, or of those of one kind.
    pub async fn stats(&self, kind: Option<KindName>) -> Result<Stats, ActorError> {
        let Some(kind) = kind else {
            return self.0.store.stats().await;
        };
        let store = self.0.store.clone();
        let counting = async move { store.stats_of(&kind).await };
        self.0.gates.stats_of_kinds.run(counting).await
    }

    /// What was done in each of the last seconds.
    pub async fn seconds(&self) -> Result<Seconds, ActorError> {
        let store = self.0.store.clone();
        let reading = async move { store.seconds().await };
        self.0.gates.seconds.run(reading).await
    }
}

/// Counts an answer by its source.
fn counted<T>(read: Read<T>) -> Read<T> {
    metrics::read_from(read.source);
    read
}

impl Inner {
    /// Changes a work in the store, and writes it through the cache.
    async fn change(
        &self,
        id: WorkId,
        changing: impl Future<Output = Result<Changed<Work>, ActorError>>,
    ) -> Result<Changed<Work>, ActorError> {
        let since = self.reader.now().await;
        let changed = changing.await?;
        if let Changed::Applied(work) = &changed {
            self.reader.written(vec![(id, Entry::Work(work.clone()))], since).await;
        }
        Ok(changed)
    }

    async fn delete(&self, by: &Principal, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        let since = self.reader.now().await;
        // The code is only known before the deletion.
        let work = self.reader.nearest(id).await.ok().and_then(|read| read.value);
        let changed = self.store.delete(by, id, version).await?;
        if changed == Changed::Applied(()) {
            self.reader.written(vec![(id, Entry::Deleted)], since).await;
            // The id replaces the demand that may still be remembered under the code.
            let demanded = work.filter(|work| work.work_code.origin() == Origin::Consumer);
            if let Some(work) = demanded {
                self.reader.codes().remember(work.work_code, ByCode::Id(id)).await;
            }
        }
        Ok(changed)
    }
}
