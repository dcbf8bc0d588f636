//! What a handler is given beside its arguments.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::Kind;
use super::kind::name_of;
use crate::domain::{CreatedWork, Json, KindName, MessageId, Origin, Progress, Run, WorkCode};
use crate::feed::AnyFeed;
use crate::runtime::{new_message_id, new_work_code};
use crate::store::{AnyStore, ClaimKey, NewWork, StoreError};

/// The run that a handler is called for: its identity, its progress, and the way to more works. Clones share it.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: KindName,
    message_id: MessageId,
    work_code: WorkCode,
    run: Run,
    outlet: Outlet,
    /// The claim of its row, if the run came from there.
    #[cfg_attr(
        not(feature = "push"),
        expect(dead_code, reason = "pushes alone tell others of the claim")
    )]
    claim: Option<ClaimKey>,
    is_cancelled: AtomicBool,
    /// The newest progress that nobody has taken.
    progress: Mutex<Option<Progress>>,
    /// The number of works that it has put in.
    enqueued: AtomicU32,
}

/// Where the works go that a handler puts in.
#[derive(Clone)]
pub(crate) enum Outlet {
    Store(AnyStore, AnyFeed),
    /// Kept, for tests.
    Kept(Arc<Mutex<Vec<NewWork>>>),
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store(..) => "Store",
            Self::Kept(_) => "Kept",
        })
    }
}

/// A work was not put in.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The arguments cannot be written as JSON that PP keeps.
    #[error("the arguments of {0}: {1}")]
    Arguments(&'static str, String),
    /// The store.
    #[error("the work was not put in: {0}")]
    Store(#[from] StoreError),
}

impl Context {
    pub(crate) fn new(
        kind: KindName,
        message_id: MessageId,
        work_code: WorkCode,
        run: Run,
        claim: Option<ClaimKey>,
        outlet: Outlet,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            message_id,
            work_code,
            run,
            outlet,
            claim,
            is_cancelled: AtomicBool::new(false),
            progress: Mutex::default(),
            enqueued: AtomicU32::new(0),
        }))
    }

    /// A context for calling `run` in a test: the first attempt of a work that is in no store. Works that are put in are
    /// kept; see [`Self::enqueued`].
    pub fn test() -> Self {
        Self::new(
            KindName::default(),
            new_message_id(),
            new_work_code(Origin::App),
            Run::FIRST,
            None,
            Outlet::Kept(Arc::default()),
        )
    }

    /// The key of this run's effects outside of PP. It is the same for every attempt until the work is updated, retried
    /// by hand or redriven, so a service that knows the key does the effect once.
    pub fn idempotency_key(&self) -> String {
        let Inner {
            kind, message_id, run, ..
        } = &*self.0;
        run.idempotency_key(kind, message_id)
    }

    /// The kind of the work.
    pub fn kind(&self) -> &KindName {
        &self.0.kind
    }

    #[cfg(feature = "push")]
    pub(crate) fn claim(&self) -> Option<ClaimKey> {
        self.0.claim
    }

    /// The identity of the work within its kind.
    pub fn message_id(&self) -> &MessageId {
        &self.0.message_id
    }

    /// The code of the work.
    pub fn work_code(&self) -> &WorkCode {
        &self.0.work_code
    }

    /// The generation grows when the work is updated, retried by hand or redriven, the attempt with each try at one
    /// generation.
    pub fn run(&self) -> Run {
        self.0.run
    }

    /// Shows how far the run is: 0 to 100 percent, and a note of at most 200 bytes, which may be empty. The newest
    /// progress is stored once a second.
    pub fn progress(&self, percent: u8, note: impl Into<String>) {
        let progress = Progress::new(percent, note);
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// True once the result is no longer wanted: the work was cancelled or updated, its time is up, or the process
    /// stops. Code that blocks should ask regularly; a future is dropped instead.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Relaxed)
    }

    /// Puts another work in, at once and on its own. The identity of the work follows from this run's and from the
    /// number of works put in before, so another attempt that puts in the same works makes no second ones.
    ///
    /// # Errors
    /// The arguments are no JSON that PP keeps, or the store is not reached.
    pub async fn enqueue<K: Kind>(&self, kind: &K) -> Result<WorkCode, EnqueueError> {
        let args = json_of(kind).map_err(|why| EnqueueError::Arguments(K::NAME, why))?;
        let number = self.0.enqueued.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}/{number}/{}", self.idempotency_key(), K::NAME);
        let message_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string();
        let work = NewWork {
            kind: name_of::<K>(),
            message_id: MessageId::try_from(message_id).unwrap_or_else(|_| new_message_id()),
            work_code: new_work_code(Origin::App),
            args,
            run_at: None,
            unique: None,
            notify: None,
        };
        match &self.0.outlet {
            Outlet::Kept(works) => {
                let code = work.work_code.clone();
                works.lock().unwrap_or_else(PoisonError::into_inner).push(work);
                Ok(code)
            }
            Outlet::Store(store, feed) => {
                let created = create(store, work).await?;
                feed.poke();
                Ok(created.work.work_code)
            }
        }
    }

    /// The arguments of works of this kind that a test context has kept, in order.
    pub fn enqueued<K: Kind>(&self) -> Vec<K> {
        let Outlet::Kept(works) = &self.0.outlet else {
            return Vec::new();
        };
        let works = works.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = works.iter().filter(|work| work.kind.as_str() == K::NAME);
        of_kind.filter_map(|work| work.args.read().ok()).collect()
    }

    /// The newest progress, once.
    pub fn take_progress(&self) -> Option<Progress> {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }
}

/// Creates the work under another code as often as its code is taken.
async fn create(store: &AnyStore, mut work: NewWork) -> Result<CreatedWork, StoreError> {
    loop {
        let mut created = store.create(std::slice::from_ref(&work)).await?;
        if let Some(created) = created.pop().flatten() {
            return Ok(created);
        }
        work.work_code = new_work_code(Origin::App);
    }
}

/// The JSON of a value, if PP keeps such JSON.
pub(super) fn json_of(value: &impl serde::Serialize) -> Result<Json, String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    Json::parse(text.as_bytes(), usize::MAX).map_err(|error| error.to_string())
}
