//! One attempt at a demand: runs the computation with a time limit, contains panics, and derives the outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::broker::Delivery;
use crate::domain::{
    Computation, ComputeError, Computing, DemandedRow, Json, KindName, MessageId, Task, Unique, WorkCode,
};
use crate::kinds::Policy;
use crate::runtime::panic_text;
use crate::store::{Completion, Guard, NewWork, Outcome, RunningAttempt};

/// The maximum length of a stored reason, in bytes.
const LONGEST_REASON: usize = 500;

/// The computation of a kind and its policy.
#[derive(Clone)]
pub(super) struct Attempts {
    pub(super) kind: KindName,
    pub(super) computation: Arc<dyn Computation>,
    pub(super) policy: watch::Receiver<Policy>,
    /// The maximum size of a result in bytes, and of arguments.
    pub(super) args_limit: usize,
}

/// An attempt at a work, and the deliveries that wait for it: several if its demand was delivered more than once.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) message_id: MessageId,
    pub(super) work_code: WorkCode,
    /// The arguments; `None` while only the row has them.
    pub(super) args: Option<Json>,
    pub(super) guard: Guard,
    unique: Option<Unique>,
    run_at: Option<i64>,
    failures: i32,
    lost_leases: i32,
    pub(super) tags: Vec<u64>,
    /// The highest delivery count of its deliveries.
    pub(super) delivery_count: u32,
}

impl Attempt {
    /// The attempt at a work that has no row yet. The row will get this code.
    pub(super) fn at_new_work(message_id: MessageId, args: Json, work_code: WorkCode) -> Self {
        Self::new(message_id, Some(args), work_code)
    }

    fn new(message_id: MessageId, args: Option<Json>, work_code: WorkCode) -> Self {
        Self {
            message_id,
            work_code,
            args,
            guard: Guard::NoRow,
            unique: None,
            run_at: None,
            failures: 0,
            lost_leases: 0,
            tags: Vec::new(),
            delivery_count: 0,
        }
    }

    /// The same attempt at a work that asks to be the only unfinished one, or to run later.
    pub(super) fn asking_for(self, unique: Option<Unique>, run_at: Option<i64>) -> Self {
        Self { unique, run_at, ..self }
    }

    /// The pending row that this attempt needs first; `None` for one that is made at once.
    pub(super) fn row(&self, kind: &KindName) -> Option<NewWork> {
        if self.guard != Guard::NoRow || (self.unique.is_none() && self.run_at.is_none()) {
            return None;
        }
        Some(NewWork {
            kind: kind.clone(),
            message_id: self.message_id.clone(),
            work_code: self.work_code.clone(),
            args: self.args.clone()?,
            run_at: self.run_at,
            unique: self.unique.clone(),
        })
    }

    /// The attempt that a row demands, with the arguments of its message if they are understood.
    pub(super) fn at_row(message_id: MessageId, args: Option<Json>, row: DemandedRow) -> Self {
        Self {
            guard: Guard::Pending(row.run),
            failures: row.failures,
            lost_leases: row.lost_leases,
            ..Self::new(message_id, args, row.work_code)
        }
    }

    /// The bytes of its arguments, as far as they are known.
    pub(super) fn bytes(&self) -> usize {
        self.args.as_ref().map_or(0, Json::bytes)
    }

    /// The same attempt, demanded by this delivery.
    pub(super) fn delivered(self, delivery: &Delivery) -> Self {
        Self {
            tags: vec![delivery.tag],
            delivery_count: delivery.delivery_count,
            ..self
        }
    }

    /// Joins another attempt at the same work: the newer one is made, and all deliveries wait for it.
    pub(super) fn join(&mut self, mut other: Self) {
        let mut tags = std::mem::take(&mut self.tags);
        tags.append(&mut other.tags);
        let delivery_count = self.delivery_count.max(other.delivery_count);
        // The row can only be at the newest of the states that its demands name.
        if other.is_newer_than(self) {
            *self = other;
        }
        self.tags = tags;
        self.delivery_count = delivery_count;
    }

    /// The number of workers lost with this work, as counted by the broker or the row.
    pub(super) fn times_lost(&self) -> usize {
        let delivered = usize::try_from(self.delivery_count).unwrap_or(usize::MAX);
        delivered.max(self.lost_leases())
    }

    /// True if this attempt saw a newer state of the row than the other one.
    fn is_newer_than(&self, other: &Self) -> bool {
        let state = |attempt: &Self| (attempt.guard != Guard::NoRow, attempt.guard.run());
        state(self) > state(other)
    }

    /// The same attempt, after its row was recorded as `running` with these arguments.
    pub(super) fn running(self, args: Json) -> Self {
        Self {
            guard: Guard::Running(self.guard.run()),
            args: Some(args),
            ..self
        }
    }

    /// The number of earlier attempts that lost their lease.
    pub(super) fn lost_leases(&self) -> usize {
        usize::try_from(self.lost_leases).unwrap_or_default()
    }

    /// The key of its lease.
    pub(super) fn lease(&self) -> RunningAttempt {
        RunningAttempt {
            message_id: self.message_id.clone(),
            run: self.guard.run(),
        }
    }

    /// A completion that makes its row `running`, whatever arguments a row has.
    pub(super) fn announcement(&self, running: Outcome) -> Completion {
        let mut announcement = self.completion(running);
        announcement.args = announcement.args.filter(|_| self.guard == Guard::NoRow);
        announcement
    }

    /// A completion of its row with this outcome.
    pub(super) fn completion(&self, outcome: Outcome) -> Completion {
        debug_assert!(
            self.guard
                .status()
                .is_none_or(|status| status.may_become(outcome.status()))
        );
        Completion {
            message_id: self.message_id.clone(),
            work_code: self.work_code.clone(),
            args: self.args.clone(),
            guard: self.guard,
            outcome,
        }
    }
}

impl Attempts {
    /// Starts the computation. The future never panics, and fails at the time limit.
    pub(super) fn start(&self, attempt: &Attempt) -> Computing {
        let run = attempt.guard.run();
        let args = attempt.args.clone();
        let task = Task {
            message_id: attempt.message_id.clone(),
            run,
            args: args.unwrap_or_else(|| unreachable!("an attempt without arguments is announced before it starts")),
        };
        let (computation, limit) = (self.computation.clone(), self.policy.borrow().timeout);
        Box::pin(async move {
            // `compute` itself may panic before it returns a future, so it runs inside.
            let contained = AssertUnwindSafe(async { computation.compute(&task).await }).catch_unwind();
            match tokio::time::timeout(limit, contained).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(ComputeError::Transient(format!("panicked: {}", panic_text(&*panic)))),
                Err(_) => Err(ComputeError::Transient(format!("took longer than {limit:?}"))),
            }
        })
    }

    /// Derives the work's outcome from the result of an attempt.
    pub(super) fn judge(&self, attempt: &Attempt, result: Result<Json, ComputeError>) -> Outcome {
        match result {
            Ok(result) if result.bytes() > self.args_limit => Outcome::Failed {
                reason: format!(
                    "the result has {} bytes, more than the {} of PP_ARGS_LIMIT",
                    result.bytes(),
                    self.args_limit
                ),
            },
            Ok(result) => Outcome::Done { result },
            Err(ComputeError::Permanent(reason)) => Outcome::Failed {
                reason: storable(reason),
            },
            Err(ComputeError::Transient(reason)) => {
                let (reason, policy) = (storable(reason), self.policy.borrow());
                match attempt.failures.saturating_add(1) >= i32::from(policy.max_attempts) {
                    true => Outcome::Failed { reason },
                    false => Outcome::Retry {
                        reason,
                        delay: policy.backoff.delay_after(attempt.failures),
                    },
                }
            }
        }
    }
}

/// Makes a reason storable: replaces NUL, which PostgreSQL refuses, and truncates it.
fn storable(reason: String) -> String {
    let mut reason = reason.replace('\0', "\u{fffd}");
    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
    reason
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{AddUpTo, FailingExample, Origin};
    use crate::runtime::{new_message_id, new_work_code};

    fn attempts(max_attempts: u16) -> Attempts {
        let policy = Policy {
            max_attempts,
            timeout: Duration::from_secs(1),
            ..Policy::DEFAULT
        };
        Attempts {
            kind: KindName::default(),
            computation: Arc::new(FailingExample),
            policy: watch::channel(policy).1,
            args_limit: Json::USUAL_LIMIT,
        }
    }

    fn attempt(number: i64) -> Attempt {
        let add_up_to = AddUpTo::try_from(number).unwrap();
        Attempt::at_new_work(new_message_id(), add_up_to.args(), new_work_code(Origin::Consumer))
    }

    async fn outcome(attempts: &Attempts, attempt: &Attempt) -> Outcome {
        attempts.judge(attempt, attempts.start(attempt).await)
    }

    #[tokio::test]
    async fn results_errors_and_panics_have_their_own_outcomes() {
        assert_eq!(
            outcome(&attempts(5), &attempt(4)).await,
            Outcome::Done { result: 10.into() }
        );
        assert!(matches!(
            outcome(&attempts(5), &attempt(13)).await,
            Outcome::Failed { .. }
        ));
        assert!(matches!(
            outcome(&attempts(5), &attempt(17)).await,
            Outcome::Retry { .. }
        ));
        assert!(
            matches!(outcome(&attempts(1), &attempt(17)).await, Outcome::Failed { .. }),
            "the last attempt"
        );
        match outcome(&attempts(5), &attempt(19)).await {
            Outcome::Retry { reason, .. } => assert_eq!(reason, "panicked: 19 ends in 9"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_result_above_the_limit_fails_for_good() {
        let attempts = Attempts {
            args_limit: 5,
            ..attempts(5)
        };
        let outcome = |text: &str| attempts.judge(&attempt(1), Ok(Json::accepted(text)));
        assert!(matches!(outcome("12345"), Outcome::Done { .. }));
        let reason = "the result has 6 bytes, more than the 5 of PP_ARGS_LIMIT".to_owned();
        assert_eq!(outcome("123456"), Outcome::Failed { reason });
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_computation_ends_at_the_time_limit() {
        struct Hangs;
        impl Computation for Hangs {
            fn compute(&self, _: &Task) -> Computing {
                Box::pin(std::future::pending())
            }
        }
        let attempts = Attempts {
            computation: Arc::new(Hangs),
            ..attempts(5)
        };
        assert!(
            matches!(outcome(&attempts, &attempt(1)).await, Outcome::Retry { reason, .. } if reason == "took longer than 1s")
        );
    }

    #[test]
    fn reasons_are_truncated_and_free_of_nul() {
        let reason = storable(format!("a\0{}", "é".repeat(1000)));
        assert!(reason.len() <= LONGEST_REASON && reason.starts_with("a\u{fffd}é"));
    }
}
