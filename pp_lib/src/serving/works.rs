//! The works' service: what is asked about single works, written through the cache and read from it. Every request runs
//! in a task of its own, on the runtime of whoever asks: between a web server's worker and the store or the cache, which
//! answer many at once, there is no third party.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::cache::{ByCode, Entry, Provisional};
use crate::domain::{AddUpTo, MessageId, Origin, Work, WorkCode, WorkId};
use crate::serving::gate::Gate;
use crate::serving::{ActorError, CacheHandle, StoreHandle};
use crate::serving::{Coded, Creator, Near, Read, Reader, Wanted};
use crate::store::Changed;

/// The running service, owned by whoever stops it.
#[derive(Debug)]
pub struct WorkActor {
    tasks: TaskTracker,
    gates: Arc<Gates>,
}

/// How everybody else asks for works.
#[derive(Clone)]
pub struct WorkHandle {
    gates: Arc<Gates>,
    works: Arc<Works>,
}

/// One for each kind of request: too many of one do not keep out the others.
#[derive(Debug)]
struct Gates {
    creates: Gate,
    bulks: Gate,
    updates: Gate,
    cancels: Gate,
    retries: Gate,
    deletes: Gate,
    ids: Gate,
    codes: Gate,
}

impl WorkActor {
    /// Starts the service. What is read may be so stale. So many requests of a kind may wait for the store, and as many
    /// again be answered by it or by the cache meanwhile.
    pub fn start(
        store: StoreHandle,
        cache: CacheHandle,
        near: Option<Arc<Near>>,
        staleness: Duration,
        mailbox: usize,
    ) -> (Self, WorkHandle) {
        let tasks = TaskTracker::new();
        let gate = |name| Gate::new(name, mailbox.saturating_mul(2), &tasks);
        let gates = Arc::new(Gates {
            creates: gate("works: create"),
            bulks: gate("works: create all"),
            updates: gate("works: update"),
            cancels: gate("works: cancel"),
            retries: gate("works: retry"),
            deletes: gate("works: delete"),
            ids: gate("works: by id"),
            codes: gate("works: by code"),
        });
        let works = Arc::new(Works {
            creator: Creator::new(store.clone()),
            reader: Reader::new(store.clone(), cache, near, staleness),
            store,
        });
        let handle = WorkHandle {
            gates: Arc::clone(&gates),
            works,
        };
        (Self { tasks, gates }, handle)
    }

    /// Refuses what still comes, and returns when nothing is under way.
    pub async fn stop(self) {
        self.gates.close();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Gates {
    fn close(&self) {
        let Self {
            creates,
            bulks,
            updates,
            cancels,
            retries,
            deletes,
            ids,
            codes,
        } = self;
        [creates, bulks, updates, cancels, retries, deletes, ids, codes]
            .into_iter()
            .for_each(Gate::close);
    }
}

/// What answers the questions.
struct Works {
    creator: Creator,
    reader: Reader,
    store: StoreHandle,
}

impl Works {
    async fn create(&self, wanted: Wanted, message_id: MessageId) -> Result<Work, ActorError> {
        let since = self.reader.now().await;
        let work = self.creator.create(wanted, message_id).await?;
        let entry = (work.id, Entry::Work(work.clone()));
        self.reader.written(vec![entry], since).await;
        Ok(work)
    }

    async fn create_all(&self, wanted: &[Wanted], seed: &MessageId) -> Result<Vec<Work>, ActorError> {
        let since = self.reader.now().await;
        let works = self.creator.create_all(wanted, seed).await?;
        let entries = works.iter().map(|work| (work.id, Entry::Work(work.clone())));
        self.reader.written(entries.collect(), since).await;
        Ok(works)
    }

    /// Changes a work in the store, and writes it through the cache.
    async fn change(
        &self,
        id: WorkId,
        changing: impl Future<Output = Result<Changed<Work>, ActorError>>,
    ) -> Result<Changed<Work>, ActorError> {
        let since = self.reader.now().await;
        let changed = changing.await?;
        if let Changed::Applied(work) = &changed {
            let entry = (id, Entry::Work(work.clone()));
            self.reader.written(vec![entry], since).await;
        }
        Ok(changed)
    }

    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        let since = self.reader.now().await;
        // Known before and not afterwards.
        let work = self.reader.nearest(id).await.ok().and_then(|read| read.value);
        let changed = self.store.delete(id, version).await?;
        if changed == Changed::Applied(()) {
            self.reader.written(vec![(id, Entry::Deleted)], since).await;
            // The demand for it, remembered by its code, gives way.
            let demanded = work.filter(|work| work.work_code.origin() == Origin::Consumer);
            if let Some(work) = demanded {
                self.reader.codes().remember(work.work_code, ByCode::Id(id)).await;
            }
        }
        Ok(changed)
    }
}

impl WorkHandle {
    /// The store, for everything that is not about single works.
    pub fn store(&self) -> &StoreHandle {
        &self.works.store
    }

    /// Creates a work under this identity, or finds the one that has it. It is committed when this returns, and the
    /// next who reads it finds it.
    pub async fn create(&self, wanted: Wanted, message_id: MessageId) -> Result<Work, ActorError> {
        let works = Arc::clone(&self.works);
        let creating = async move { works.create(wanted, message_id).await };
        self.gates.creates.run(creating).await
    }

    /// Creates works, all or none, under identities made of this one and their places, or finds those that have them.
    pub async fn create_all(&self, wanted: Vec<Wanted>, seed: MessageId) -> Result<Vec<Work>, ActorError> {
        let works = Arc::clone(&self.works);
        let creating = async move { works.create_all(&wanted, &seed).await };
        self.gates.bulks.run(creating).await
    }

    /// Gives a work another bound, only at this version if given.
    pub async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        let works = Arc::clone(&self.works);
        let updating = async move {
            let update = works.store.update(id, add_up_to, version);
            works.change(id, update).await
        };
        self.gates.updates.run(updating).await
    }

    /// Ends a pending or running work, only at this version if given.
    pub async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        let works = Arc::clone(&self.works);
        let cancelling = async move { works.change(id, works.store.cancel(id, version)).await };
        self.gates.cancels.run(cancelling).await
    }

    /// Starts a failed or cancelled work over, only at this version if given.
    pub async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        let works = Arc::clone(&self.works);
        let retrying = async move { works.change(id, works.store.retry(id, version)).await };
        self.gates.retries.run(retrying).await
    }

    /// Cancels and removes a work, only at this version if given.
    pub async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        let works = Arc::clone(&self.works);
        let deleting = async move { works.delete(id, version).await };
        self.gates.deletes.run(deleting).await
    }

    /// The work with this id.
    pub async fn by_id(&self, id: WorkId) -> Result<Read<Option<Work>>, ActorError> {
        let lease = match self.works.reader.near(id).await {
            Ok(read) => return Ok(read),
            Err(lease) => lease,
        };
        let works = Arc::clone(&self.works);
        let reading = async move { works.reader.by_id(id, lease).await };
        self.gates.ids.run(reading).await
    }

    /// Remembers a demand that was accepted, so that it is found by its code: by all who share the cache, or by this
    /// process where the cache is away.
    pub async fn remember(&self, demand: Provisional) {
        let code = demand.work_code.clone();
        let codes = self.works.reader.codes();
        codes.remember(code, ByCode::Provisional(demand)).await;
    }

    /// The work with this code, or the demand for it.
    pub async fn by_code(&self, code: WorkCode) -> Result<Read<Option<Coded>>, ActorError> {
        let works = Arc::clone(&self.works);
        let reading = async move { works.reader.by_code(code).await };
        self.gates.codes.run(reading).await
    }
}
