//! The works' actor: what is asked about single works, written through the cache and read from it. Every request runs on
//! its own, as many at once as there are places; one that waits for the store holds up no other.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mailbox::{Ask, Keeping, Mailbox, open};
use super::{ActorError, CacheHandle, StoreHandle};
use crate::cache::{ByCode, Entry, Provisional};
use crate::domain::{AddUpTo, MessageId, Origin, Work, WorkCode, WorkId};
use crate::flow::{Coded, Codes, Creator, Near, Read, Reader, Wanted};
use crate::store::Changed;

/// The running actor, owned by whoever stops it.
#[derive(Debug)]
pub struct WorkActor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How everybody else asks for works.
#[derive(Clone)]
pub struct WorkHandle {
    creates: Mailbox<(Wanted, MessageId), Work>,
    bulks: Mailbox<(Vec<Wanted>, MessageId), Vec<Work>>,
    updates: Mailbox<(WorkId, AddUpTo, Option<i64>), Changed<Work>>,
    deletes: Mailbox<(WorkId, Option<i64>), Changed<()>>,
    ids: Mailbox<WorkId, Read<Option<Work>>>,
    codes: Mailbox<WorkCode, Read<Option<Coded>>>,
    store: StoreHandle,
    known: Codes,
}

impl WorkActor {
    /// Starts the actor on the runtime this is called from. What is read may be so stale.
    /// So many requests of a kind may run at once, and as many again may wait.
    pub fn start(
        store: StoreHandle,
        cache: CacheHandle,
        near: Option<Arc<Near>>,
        staleness: Duration,
        mailbox: usize,
    ) -> (Self, WorkHandle) {
        let actor = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let works = Works {
            creator: Creator::new(store.clone()),
            reader: Reader::new(store.clone(), cache, near, staleness),
            store,
        };
        let handle = works.open_all(&actor, mailbox);
        (actor, handle)
    }

    /// Answers what waits, refuses what still comes, and returns when nothing is under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What answers the questions.
#[derive(Clone)]
struct Works {
    creator: Creator,
    reader: Reader,
    store: StoreHandle,
}

impl Works {
    fn open_all(&self, actor: &WorkActor, mailbox: usize) -> WorkHandle {
        let opening = Opening {
            works: self,
            actor,
            mailbox,
        };
        WorkHandle {
            creates: opening.each("works: create", |works, (wanted, message_id)| async move {
                works.create(wanted, message_id).await
            }),
            bulks: opening.each("works: create all", |works, (wanted, seed): (Vec<_>, _)| async move {
                works.create_all(&wanted, &seed).await
            }),
            updates: opening.each("works: update", |works, (id, add_up_to, version)| async move {
                works.update(id, add_up_to, version).await
            }),
            deletes: opening.each("works: delete", |works, (id, version)| async move {
                works.delete(id, version).await
            }),
            ids: opening.each("works: by id", |works, id| async move { works.reader.by_id(id).await }),
            codes: opening.each("works: by code", |works, code| async move {
                works.reader.by_code(code).await
            }),
            store: self.store.clone(),
            known: self.reader.codes().clone(),
        }
    }

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

    async fn update(&self, id: WorkId, add_up_to: AddUpTo, version: Option<i64>) -> Result<Changed<Work>, ActorError> {
        let since = self.reader.now().await;
        let changed = self.store.update(id, add_up_to, version).await?;
        if let Changed::Applied(work) = &changed {
            let entry = (id, Entry::Work(work.clone()));
            self.reader.written(vec![entry], since).await;
        }
        Ok(changed)
    }

    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        let since = self.reader.now().await;
        // Known before and not afterwards.
        let work = self.reader.by_id(id).await.ok().and_then(|read| read.value);
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

/// What the mailboxes are opened with.
struct Opening<'a> {
    works: &'a Works,
    actor: &'a WorkActor,
    mailbox: usize,
}

impl Opening<'_> {
    fn each<Q, A, C, F>(&self, name: &'static str, call: C) -> Mailbox<Q, A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        C: Fn(Works, Q) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, ActorError>> + Send + 'static,
    {
        let keeping = Keeping {
            name,
            capacity: self.mailbox,
            batch: 1,
            lanes: self.mailbox,
        };
        let (works, call) = (self.works.clone(), Arc::new(call));
        open(
            keeping,
            &self.actor.tasks,
            &self.actor.stop,
            move |asks: Vec<Ask<Q, A>>| {
                let (works, call) = (works.clone(), Arc::clone(&call));
                async move {
                    for Ask { question, reply } in asks {
                        // Whoever does not wait any more is not told.
                        let _ = reply.send(call(works.clone(), question).await);
                    }
                }
            },
        )
    }
}

impl WorkHandle {
    /// The store, for everything that is not about single works.
    pub fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// Creates a work under this identity, or finds the one that has it. It is committed when this returns, and the
    /// next who reads it finds it.
    pub async fn create(&self, wanted: Wanted, message_id: MessageId) -> Result<Work, ActorError> {
        self.creates.ask((wanted, message_id)).await
    }

    /// Creates works, all or none, under identities made of this one and their places, or finds those that have them.
    pub async fn create_all(&self, wanted: Vec<Wanted>, seed: MessageId) -> Result<Vec<Work>, ActorError> {
        self.bulks.ask((wanted, seed)).await
    }

    /// Gives a work another bound, only at this version if given.
    pub async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
    ) -> Result<Changed<Work>, ActorError> {
        self.updates.ask((id, add_up_to, version)).await
    }

    /// Cancels and removes a work, only at this version if given.
    pub async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>, ActorError> {
        self.deletes.ask((id, version)).await
    }

    /// The work with this id.
    pub async fn by_id(&self, id: WorkId) -> Result<Read<Option<Work>>, ActorError> {
        self.ids.ask(id).await
    }

    /// Remembers a demand that was accepted, so that it is found by its code: by all who share the cache, or by this
    /// process where the cache is away.
    pub async fn remember(&self, demand: Provisional) {
        let code = demand.work_code.clone();
        self.known.remember(code, ByCode::Provisional(demand)).await;
    }

    /// The work with this code, or the demand for it.
    pub async fn by_code(&self, code: WorkCode) -> Result<Read<Option<Coded>>, ActorError> {
        self.codes.ask(code).await
    }
}
