//! One attempt at a demand: runs the handler with a time limit, contains panics, and derives the outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::broker::Delivery;
use crate::domain::{DemandedRow, Json, KindName, MessageId, Unique, WorkCode};
use crate::kinds::{Context, Ending, Failure, Handler, Handling, Outlet, Policy};
use crate::runtime::panic_text;
use crate::store::{ClaimKey, ClaimedRun, Completion, Extension, Guard, NewWork, Outcome, RunningAttempt};
use crate::worker::metrics::Meter;

/// The handler of a kind and its policy.
#[derive(Clone)]
pub(super) struct Attempts {
    pub(super) kind: KindName,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) outlet: Outlet,
    pub(super) policy: watch::Receiver<Policy>,
    /// The maximum size of a result in bytes, and of arguments.
    pub(super) args_limit: usize,
    pub(super) meter: Arc<Meter>,
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
    /// The claim that it came by, if it came from its row.
    claim: Option<ClaimKey>,
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
            claim: None,
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
        let at_once = self.unique.is_none() && self.run_at.is_none();
        self.new_row(kind).filter(|_| !at_once)
    }

    /// The row of a work that has none yet.
    pub(super) fn new_row(&self, kind: &KindName) -> Option<NewWork> {
        if self.guard != Guard::NoRow {
            return None;
        }
        Some(NewWork {
            kind: kind.clone(),
            message_id: self.message_id.clone(),
            work_code: self.work_code.clone(),
            args: self.args.clone()?,
            run_at: self.run_at,
            unique: self.unique.clone(),
            notify: None,
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

    /// The attempt of a work that this worker has claimed.
    pub(super) fn of_run(run: ClaimedRun) -> Self {
        Self {
            guard: Guard::Running(run.run),
            failures: run.failures,
            lost_leases: run.lost_leases,
            claim: Some(run.key()),
            ..Self::new(run.message_id, Some(run.args), run.work_code)
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

    /// The extension of its lease to the end of the time that a run may take.
    pub(super) fn extension(&self, kind: &KindName, timeout: Duration) -> Option<Extension> {
        let claim = self.claim?;
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        Some(Extension {
            held: claim.held(kind, self.guard.run()),
            lease: timeout,
            ends_on: claim.began_on.saturating_add(seconds),
        })
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
    /// Starts the run. The future never panics, and fails at the time limit.
    pub(super) fn start(&self, attempt: &Attempt) -> (Handling, Context) {
        let context = Context::new(
            self.kind.clone(),
            attempt.message_id.clone(),
            attempt.work_code.clone(),
            attempt.guard.run(),
            attempt.claim,
            self.outlet.clone(),
        );
        let args = attempt.args.clone();
        let args = args.unwrap_or_else(|| unreachable!("an attempt without arguments is announced before it starts"));
        let (handler, limit, of_run) = (self.handler.clone(), self.policy.borrow().timeout, context.clone());
        let handling = Box::pin(async move {
            // `handle` itself may panic before it returns a future, so it runs inside.
            let contained = AssertUnwindSafe(async { handler.handle(args, of_run).await }).catch_unwind();
            match tokio::time::timeout(limit, contained).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(Failure::retry(format_args!("panicked: {}", panic_text(&*panic)))),
                Err(_) => Err(Failure::retry(format_args!("took longer than {limit:?}"))),
            }
        });
        (handling, context)
    }

    /// Derives the work's outcome from the result of an attempt. `None` if others have the token of the run and end it.
    pub(super) fn judge(&self, attempt: &Attempt, result: Result<Json, Failure>) -> Option<Outcome> {
        match result {
            Err(failure) if failure.ending == Ending::LeftRunning && attempt.claim.is_some() => None,
            result => Some(self.policy.borrow().outcome(self.args_limit, attempt.failures, result)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AddUpTo, Origin};
    use crate::kinds::{Kind as _, Kinds, Pace, Sum};
    use crate::runtime::{new_message_id, new_work_code};

    /// Ends in the way that the argument's last digit says.
    struct Various;

    impl Handler for Various {
        fn handle(&self, args: Json, context: Context) -> Handling {
            Box::pin(async move {
                let sum: Sum = args.read()?;
                match sum.add_up_to.get() % 10 {
                    1 => std::future::pending().await,
                    3 => Err(Failure::permanent("ends in 3")),
                    5 => Err(Failure::snooze(Duration::from_secs(300))),
                    6 => Err(Failure::cancel("ends in 6")),
                    7 => Err(Failure::retry("ends in 7")),
                    8 => Err(Failure::retry_after(Duration::MAX, "ends in 8")),
                    9 => panic!("ends in 9"),
                    _ => Ok(sum.run(&Pace::default(), &context).await?.into()),
                }
            })
        }
    }

    fn attempts(max_attempts: u16) -> Attempts {
        let policy = Policy {
            max_attempts,
            timeout: Duration::from_secs(1),
            ..Policy::DEFAULT
        };
        Attempts {
            kind: KindName::default(),
            handler: Arc::new(Various),
            outlet: Outlet::Kept(Arc::default()),
            policy: watch::channel(policy).1,
            args_limit: Json::USUAL_LIMIT,
            meter: Arc::new(Meter::new(KindName::add_up_to())),
        }
    }

    fn attempt(number: i64) -> Attempt {
        let add_up_to = AddUpTo::try_from(number).unwrap();
        Attempt::at_new_work(new_message_id(), add_up_to.args(), new_work_code(Origin::Consumer))
    }

    async fn outcome(attempts: &Attempts, attempt: &Attempt) -> Outcome {
        let outcome = attempts.judge(attempt, attempts.start(attempt).0.await);
        outcome.unwrap_or_else(|| panic!("it was left running"))
    }

    #[tokio::test]
    async fn each_way_to_end_has_its_outcome() {
        let outcome = async |max_attempts, number| outcome(&attempts(max_attempts), &attempt(number)).await;
        let reason = |text: &str| text.to_owned();
        assert_eq!(outcome(5, 4).await, Outcome::Done { result: 10.into() });
        assert_eq!(
            outcome(5, 13).await,
            Outcome::Failed {
                reason: reason("ends in 3")
            }
        );
        let delay = Duration::from_secs(300);
        assert_eq!(
            outcome(1, 15).await,
            Outcome::Snoozed { delay },
            "a snooze is no failure"
        );
        assert_eq!(
            outcome(5, 16).await,
            Outcome::Cancelled {
                reason: reason("ends in 6")
            }
        );
        assert!(matches!(outcome(5, 17).await, Outcome::Retry { delay, .. } if delay <= Duration::from_secs(1)));
        let delay = Policy::LONGEST_WAIT;
        assert_eq!(
            outcome(5, 18).await,
            Outcome::Retry {
                reason: reason("ends in 8"),
                delay
            }
        );
        for number in [17, 18] {
            let last = outcome(1, number).await;
            assert!(matches!(last, Outcome::Failed { .. }), "the last attempt: {last:?}");
        }
        assert!(matches!(outcome(5, 19).await, Outcome::Retry { reason, .. } if reason == "panicked: ends in 9"));
    }

    #[tokio::test]
    async fn arguments_that_are_not_of_the_kind_are_tried_again() {
        let kinds = Kinds::new().with::<Sum>(Pace::default());
        let handled = kinds.get(KindName::add_up_to()).unwrap();
        let attempts = Attempts {
            handler: handled.handler.clone(),
            ..attempts(5)
        };
        let unknown = Attempt::at_new_work(
            new_message_id(),
            Json::accepted(r#"{"add_up_to":1,"newer":true}"#),
            new_work_code(Origin::Consumer),
        );
        let outcome = outcome(&attempts, &unknown).await;
        let told = |reason: &str| reason.starts_with("the arguments are not of the kind: unknown field");
        assert!(
            matches!(&outcome, Outcome::Retry { reason, .. } if told(reason)),
            "{outcome:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_run_ends_at_the_time_limit() {
        let outcome = outcome(&attempts(5), &attempt(1)).await;
        assert!(matches!(outcome, Outcome::Retry { reason, .. } if reason == "took longer than 1s"));
    }
}
