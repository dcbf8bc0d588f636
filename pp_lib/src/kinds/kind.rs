//! What a user of the library writes: a kind of work, with the code that does it.

use std::error::Error;
use std::future::Future;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::available_parallelism;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::context::{Context, json_of};
use super::{Failure, Policy};
use crate::domain::KindName;
use crate::enqueue::{EnqueueConnection, Enqueued, NewJob, QueryResult, enqueue, refused};

/// A kind of work. The type is its arguments, and [`Self::run`] the code that does it.
///
/// A handler is called once its work's row says `running` for this very run, and never for a run that was superseded.
/// After a crash or a failure it is called again: effects outside of PP use [`Context::idempotency_key`].
pub trait Kind: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// Its name, such as `user.welcome.email`: words of a-z, 0-9 and _ with dots between them, at most 100 bytes.
    const NAME: &'static str;

    /// How its works are handled, unless an operator sets something else.
    const POLICY: Policy = Policy::DEFAULT;

    /// True if running has no effect but its output. Then a work may run before its row says so, and twice.
    const IS_PURE: bool = false;

    /// The result.
    type Output: Serialize + JsonSchema + Send;

    /// What the handler needs: connections, clients, settings. One value serves all works of the kind.
    type State: Send + Sync + 'static;

    /// Does the work. The future is dropped when the work is cancelled, loses its lease or takes too long; a panic
    /// counts as a failure that is tried again.
    fn run(self, state: &Self::State, context: &Context) -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// A new work with these arguments, for [`enqueue`].
    ///
    /// # Errors
    /// The arguments cannot be written as JSON that PP keeps.
    fn job(&self) -> Result<NewJob, Box<dyn Error + Send + Sync>> {
        Ok(NewJob::new(name_of::<Self>(), json_of(self)?))
    }

    /// Puts a work with these arguments in, within the caller's own transaction; see [`enqueue`].
    ///
    /// # Errors
    /// Those of the database, and arguments that cannot be written as JSON that PP keeps.
    fn enqueue<C: EnqueueConnection>(&self, connection: &mut C) -> QueryResult<Enqueued> {
        let job = self.job().map_err(refused)?;
        enqueue(connection, &job)
    }
}

/// A [`Kind`] whose code blocks or burns the processor. It runs on threads of its own, of which there are
/// [`Self::threads`]; further works wait.
pub trait BlockingKind: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// See [`Kind::NAME`].
    const NAME: &'static str;

    /// See [`Kind::POLICY`].
    const POLICY: Policy = Policy::DEFAULT;

    /// See [`Kind::IS_PURE`].
    const IS_PURE: bool = false;

    /// The result.
    type Output: Serialize + JsonSchema + Send + 'static;

    /// See [`Kind::State`].
    type State: Send + Sync + 'static;

    /// The number of works that run at once in a process: by default that of its processors.
    fn threads() -> usize {
        available_parallelism().map_or(1, NonZero::get)
    }

    /// Does the work. A thread cannot be stopped from outside, so what takes long asks [`Context::is_cancelled`].
    ///
    /// # Errors
    /// See [`Failure`].
    fn run(self, state: &Self::State, context: &Context) -> Result<Self::Output, Failure>;
}

/// The state of a [`BlockingKind`], with its threads.
pub struct BlockingState<S> {
    state: Arc<S>,
    threads: Arc<Semaphore>,
}

impl<S> BlockingState<S> {
    pub(super) fn new(state: S, threads: usize) -> Self {
        Self {
            state: Arc::new(state),
            threads: Arc::new(Semaphore::new(threads.max(1))),
        }
    }
}

/// Cancels a thread's work when the future that waits for it is dropped.
struct CancelOnDrop(Context);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl<B: BlockingKind> Kind for B {
    const NAME: &'static str = B::NAME;
    const POLICY: Policy = B::POLICY;
    const IS_PURE: bool = B::IS_PURE;
    type Output = B::Output;
    type State = BlockingState<B::State>;

    async fn run(self, state: &Self::State, context: &Context) -> Result<Self::Output, Failure> {
        let turn = state.threads.clone().acquire_owned().await?;
        let cancel_on_drop = CancelOnDrop(context.clone());
        let (state, context) = (state.state.clone(), context.clone());
        let thread = spawn_blocking(move || {
            let _turn = turn;
            BlockingKind::run(self, &state, &context)
        });
        let ended = thread.await;
        drop(cancel_on_drop);
        ended.unwrap_or_else(|error| match error.try_into_panic() {
            // The panic resumes in the waiting task, which contains it like any other.
            Ok(panic) => resume_unwind(panic),
            Err(error) => Err(Failure::retry(error)),
        })
    }
}

/// The name of a kind, which the compiler has checked.
pub(crate) fn name_of<K: Kind>() -> KindName {
    const {
        assert!(
            KindName::is_name(K::NAME),
            "the NAME of a kind is words of a-z, 0-9 and _ with dots between them"
        )
    };
    K::NAME.parse().unwrap_or_default()
}
