//! PUT YOUR OWN WORK HERE: the computation behind one small trait.
//!
//! Replace [`AddUpToSum`] by your own [`Computation`] and name it in `pp_lib::worker::computation()`; everything around
//! it - intake, delivery, leases, retries, dead letters, events - stays. Three things to know:
//!
//! - A task may be computed more than once (a crash, a retry). Effects outside PP use [`Task::message_id`] together
//!   with the generation of [`Task::run`] as their idempotency key; PP's own rows and events take effect once by themselves.
//! - The future is cancelled by being dropped: when the work is cancelled, its lease is lost or it takes too long.
//! - What blocks or burns the processor belongs on the bounded pool: see `pp_lib::worker::Blocking`.

use std::future::Future;
use std::pin::Pin;

use super::{AddUpTo, AddUpToSum, Json, MessageId, Run};

/// One computation to be done.
#[derive(Clone, Debug)]
pub struct Task {
    /// The identity of the demand, the same for every attempt.
    pub message_id: MessageId,
    /// The generation grows when the work is updated or redriven, the attempt with each try at one generation.
    pub run: Run,
    /// The arguments of the work.
    pub args: Json,
}

/// A computation without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComputeError {
    /// It may work another time: tried again later, until the attempts are used up.
    Transient(String),
    /// It will never work: a dead letter at once.
    Permanent(String),
}

/// A computation under way; dropping it cancels it.
pub type Computing = Pin<Box<dyn Future<Output = Result<Json, ComputeError>> + Send>>;

/// The computation. A panic inside is contained and counts as [`ComputeError::Transient`].
pub trait Computation: Send + Sync + 'static {
    /// Begins to compute the task. What takes longer than a moment is recorded as `running` meanwhile.
    fn compute(&self, task: &Task) -> Computing;

    /// True if computing has no effect but its result. A pure computation may run before its work is claimed, and twice;
    /// every other one runs only after its row says `running` for this very run.
    fn is_pure(&self) -> bool {
        false
    }
}

/// An example that fails, so that retries and dead letters can be seen: bounds ending in 3 fail for good, bounds ending
/// in 7 fail for the first two attempts, bounds ending in 9 panic; all others are summed up.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailingExample;

impl Computation for FailingExample {
    fn compute(&self, task: &Task) -> Computing {
        let (bound, attempt) = (AddUpTo::of_args(&task.args), task.run.attempt);
        Box::pin(async move {
            let add_up_to = bound.map_err(ComputeError::Transient)?;
            match add_up_to.get() % 10 {
                3 => Err(ComputeError::Permanent(format!("{add_up_to} ends in 3"))),
                7 if attempt <= 2 => Err(ComputeError::Transient(format!(
                    "{add_up_to} ends in 7, attempt {attempt}"
                ))),
                9 => panic!("{add_up_to} ends in 9"),
                _ => Ok(AddUpToSum::sum(add_up_to).into()),
            }
        })
    }

    fn is_pure(&self) -> bool {
        true
    }
}
