//! PUT YOUR OWN WORK HERE: the computation behind one small trait.
//!
//! Replace [`AddUpToSum`] by your own [`Computation`] and name it in `pp_lib::worker::computation()`; everything around
//! it - intake, delivery, leases, retries, dead letters, events - stays. Three things to know:
//!
//! - A task may be computed more than once (a crash, a retry). Effects outside PP use [`Task::message_id`] together
//!   with the generation of [`Task::run`] as their idempotency key; PP's own rows and events take effect once by themselves.
//! - The future is cancelled by being dropped: when the work is cancelled, its lease is lost or it takes too long.
//! - What blocks or burns the processor belongs on the bounded pool: see `pp_lib::worker::Blocking`.

use std::future::{Future, ready};
use std::pin::Pin;

use super::{AddUpTo, MessageId, Run};

/// One computation to be done.
#[derive(Clone, Debug)]
pub struct Task {
    /// The identity of the demand, the same for every attempt.
    pub message_id: MessageId,
    /// The generation grows when the work is updated or redriven, the attempt with each try at one generation.
    pub run: Run,
    /// The bound of the sum.
    pub add_up_to: AddUpTo,
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
pub type Computing = Pin<Box<dyn Future<Output = Result<i64, ComputeError>> + Send>>;

/// The computation. A panic inside is contained and counts as [`ComputeError::Transient`].
pub trait Computation: Send + Sync + 'static {
    /// Begins to compute the task. What takes longer than a moment is recorded as `running` meanwhile.
    fn compute(&self, task: &Task) -> Computing;
}

/// The sum 1 + 2 + … + `add_up_to`, the bound included.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddUpToSum;

impl AddUpToSum {
    /// The sum in closed form; the largest, of 2,147,483,647, needs 61 bits.
    pub const fn sum(add_up_to: AddUpTo) -> i64 {
        let bound = add_up_to.get() as i64;
        bound * (bound + 1) / 2
    }
}

impl Computation for AddUpToSum {
    fn compute(&self, task: &Task) -> Computing {
        Box::pin(ready(Ok(Self::sum(task.add_up_to))))
    }
}

/// An example that fails, so that retries and dead letters can be seen: bounds ending in 3 fail for good, bounds ending
/// in 7 fail for the first two attempts, bounds ending in 9 panic; all others are summed up.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailingExample;

impl Computation for FailingExample {
    fn compute(&self, task: &Task) -> Computing {
        let (add_up_to, attempt) = (task.add_up_to, task.run.attempt);
        Box::pin(async move {
            match add_up_to.get() % 10 {
                3 => Err(ComputeError::Permanent(format!("{add_up_to} ends in 3"))),
                7 if attempt <= 2 => Err(ComputeError::Transient(format!(
                    "{add_up_to} ends in 7, attempt {attempt}"
                ))),
                9 => panic!("{add_up_to} ends in 9"),
                _ => Ok(AddUpToSum::sum(add_up_to)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_is_included_and_the_largest_sum_is_exact() {
        let sum = |n: i64| AddUpToSum::sum(AddUpTo::try_from(n).unwrap());
        assert_eq!((sum(1), sum(4), sum(100)), (1, 10, 5050));
        assert_eq!(sum(2_147_483_647), 2_305_843_008_139_952_128);
    }

    proptest! {
        #[test]
        fn each_sum_is_the_one_before_and_its_own_bound(n in 2_i64..=2_147_483_647) {
            let sum = |n: i64| AddUpToSum::sum(AddUpTo::try_from(n).unwrap());
            prop_assert_eq!(sum(n), sum(n - 1) + n);
        }
    }
}
