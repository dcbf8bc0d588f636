//! Reports of workers: outcomes of attempts, leases, attempts handed back.

use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Json, KindName, MessageId, Progress, Run, Status, Variable, WorkCode, WorkerName};

/// Reason of an attempt whose worker fell silent; for events and dead letters.
pub(crate) const LEASE_LOST: &str = "lease lost";
/// Reason of an attempt whose worker was stopped; for events.
pub(crate) const HANDED_BACK: &str = "handed back";

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The computation takes longer: the row is `running` and belongs to this worker until the lease runs out.
    Running {
        /// Longest silence of the worker.
        lease: Duration,
        /// A random number for this claim, so that a repetition after a lost reply knows the claim for its own.
        claim: i64,
        /// This worker; `None` if it has no name.
        worker: Option<WorkerName>,
    },
    /// Computed.
    Done {
        /// The result.
        result: Json,
    },
    /// Failed; the next attempt follows after the delay.
    Retry {
        /// The reason, for the events.
        reason: String,
        /// Wait before the next attempt.
        delay: Duration,
    },
    /// Put off by its handler: pending again, due after the delay, and no failure.
    Snoozed {
        /// Wait before the next attempt.
        delay: Duration,
    },
    /// Cancelled by its handler.
    Cancelled {
        /// The reason, for the events.
        reason: String,
    },
    /// Failed for good: the row is `failed` and has a dead letter.
    Failed {
        /// The reason, for the events and the dead letter.
        reason: String,
    },
}

impl Outcome {
    /// The start of an attempt under a lease, by a claim of its own.
    pub fn running(lease: Duration) -> Self {
        Self::running_at(lease, None)
    }

    /// The same for the attempt of this worker.
    pub fn running_at(lease: Duration, worker: Option<WorkerName>) -> Self {
        Self::Running {
            lease,
            claim: rand::random(),
            worker,
        }
    }

    /// The worker of a work that is running now.
    pub(crate) fn worker(&self) -> Option<&WorkerName> {
        match self {
            Self::Running { worker, .. } => worker.as_ref(),
            _ => None,
        }
    }

    /// The status of the row afterwards.
    pub fn status(&self) -> Status {
        match self {
            Self::Running { .. } => Status::Running,
            Self::Done { .. } => Status::Done,
            Self::Retry { .. } | Self::Snoozed { .. } => Status::Pending,
            Self::Cancelled { .. } => Status::Cancelled,
            Self::Failed { .. } => Status::Failed,
        }
    }

    /// Time until the row is due: the end of its lease, or its next attempt.
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Running { lease, .. } => Some(*lease),
            Self::Retry { delay, .. } | Self::Snoozed { delay } => Some(*delay),
            Self::Done { .. } | Self::Failed { .. } | Self::Cancelled { .. } => None,
        }
    }

    /// The result of a computed work.
    pub fn result(&self) -> Option<&Json> {
        if let Self::Done { result } = self {
            Some(result)
        } else {
            None
        }
    }

    /// The number of its claim, for a work that is running now.
    pub fn claim(&self) -> Option<i64> {
        match self {
            Self::Running { claim, .. } => Some(*claim),
            _ => None,
        }
    }

    /// The reason of an attempt without a result.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Retry { reason, .. } | Self::Failed { reason } | Self::Cancelled { reason } => Some(reason),
            Self::Running { .. } | Self::Done { .. } | Self::Snoozed { .. } => None,
        }
    }

    /// True if it counts as a failure.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Retry { .. } | Self::Failed { .. })
    }
}

/// The state that a row must have for an outcome to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No row: the outcome inserts it, unless the `message_id` has one already.
    NoRow,
    /// A row that is pending at this run.
    Pending(Run),
    /// A row that is running at this run.
    Running(Run),
    /// A row that is running at this run by this claim. The row keeps the claim, so that its holder can be told apart
    /// from others later.
    Claimed(Run, i64),
}

impl Guard {
    /// The run of the row. A row that is not there yet is at its first run.
    pub fn run(self) -> Run {
        match self {
            Self::NoRow => Run::FIRST,
            Self::Pending(run) | Self::Running(run) | Self::Claimed(run, _) => run,
        }
    }

    /// The same guard at the first run.
    pub(crate) fn as_first(self) -> Self {
        match self {
            Self::NoRow => Self::NoRow,
            Self::Pending(_) => Self::Pending(Run::FIRST),
            Self::Running(_) => Self::Running(Run::FIRST),
            Self::Claimed(_, claim) => Self::Claimed(Run::FIRST, claim),
        }
    }

    /// The status that the row must have, if there must be a row.
    pub fn status(self) -> Option<Status> {
        match self {
            Self::NoRow => None,
            Self::Pending(_) => Some(Status::Pending),
            Self::Running(_) | Self::Claimed(..) => Some(Status::Running),
        }
    }

    /// True if the row must be running.
    pub fn is_running(self) -> bool {
        self.status() == Some(Status::Running)
    }

    /// The claim that the row must be running by, if it must be a certain one.
    pub(crate) fn claim(self) -> Option<i64> {
        match self {
            Self::Claimed(_, claim) => Some(claim),
            Self::NoRow | Self::Pending(_) | Self::Running(_) => None,
        }
    }
}

/// An outcome for the row of a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The demand's identity, which finds the row.
    pub message_id: MessageId,
    /// The row's code, for a row that is not there yet.
    pub work_code: WorkCode,
    /// The arguments of a row that is not there yet. For [`Guard::Pending`] the arguments that were computed, which must
    /// be the row's; `None` for any. Of a running row they are known.
    pub args: Option<Json>,
    /// The state that the row must have.
    pub guard: Guard,
    /// The outcome.
    pub outcome: Outcome,
}

impl Completion {
    /// The claim that the row gets or must have.
    pub(crate) fn claim(&self) -> Option<i64> {
        self.outcome.claim().or(self.guard.claim())
    }

    /// The bytes of what it writes: arguments, and the result in the row and in its event.
    pub fn bytes(&self) -> usize {
        self.args.as_ref().map_or(0, Json::bytes) + 2 * self.outcome.result().map_or(0, Json::bytes)
    }

    /// Its events, in order. An attempt that was not announced as running starts now.
    pub fn events(&self) -> impl Iterator<Item = (Variable, String)> {
        let started = !self.guard.is_running();
        let start = started.then(|| (Variable::ComputeStart, String::new()));
        let [stop, end] = match &self.outcome {
            Outcome::Running { .. } => [None, None],
            Outcome::Done { result } => [
                Some((Variable::ComputeStop, String::new())),
                Some((Variable::ComputeResult, result.to_string())),
            ],
            Outcome::Retry { reason, .. } | Outcome::Failed { reason } => {
                [None, Some((Variable::ComputeError, reason.clone()))]
            }
            Outcome::Snoozed { delay } => [None, Some((Variable::ComputeSnoozed, delay.as_secs().to_string()))],
            Outcome::Cancelled { reason } => [None, Some((Variable::WorkCancelled, reason.clone()))],
        };
        [start, stop, end].into_iter().flatten()
    }
}

/// The answer to a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completed {
    /// It took effect, with its events.
    Applied,
    /// [`Outcome::Running`] took effect: the row is running at this very run, and has these arguments.
    Started(Json),
    /// The guard did not hold: the row is finished, or has moved on. Nothing changed, and nothing is left to do. The
    /// answer is the same if an earlier try of the call took effect and its reply was lost, except for
    /// [`Outcome::Running`]: its claim is recognized, because the work is still to be computed. A new call after
    /// [`StoreError::Unavailable`] with the same claim recognizes it too.
    Superseded,
    /// Another work has the code of the row to be inserted. Nothing changed; a new code is needed.
    CodeTaken,
}

/// A running attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningAttempt {
    /// The demand's identity.
    pub message_id: MessageId,
    /// The row's run.
    pub run: Run,
}

/// The reports of workers, each call for works of one kind.
#[async_trait]
pub trait Completions: Send + Sync {
    /// Records all outcomes or, on an error, none. Returns one answer for each, in order. Each `message_id` may stand
    /// here once.
    async fn complete(&self, kind: &KindName, completions: &[Completion]) -> Result<Vec<Completed>>;

    /// Extends the leases of running attempts. Returns for each, in order, whether this worker still holds it.
    async fn extend_leases(&self, kind: &KindName, attempts: &[RunningAttempt], lease: Duration) -> Result<Vec<bool>>;

    /// Stores how far running attempts are, with an event for each. Skips those that are no longer running at this run;
    /// returns the number of the others.
    async fn report_progress(&self, kind: &KindName, reports: &[(RunningAttempt, Progress)]) -> Result<u64>;

    /// Makes running attempts that this worker still holds pending again: due at once, as the next attempt, counted
    /// neither as failures nor as lost leases. Returns their number.
    async fn hand_back(&self, kind: &KindName, attempts: &[RunningAttempt]) -> Result<u64>;

    /// Makes running rows of all kinds whose lease ran out pending again, due at once, as the next attempt. Rows that lost more than
    /// `max_lost` leases fail for good. Takes at most `limit` rows; returns their number.
    async fn rescue(&self, max_lost: i32, limit: u16) -> Result<u64>;
}

/// Logs and counts that a work failed for good, in one form for all causes. Call it after the commit, once for each work.
pub(crate) fn log_given_up(work_code: impl Display, reason: &str) {
    log::warn!("work {work_code} is given up: {reason}");
    super::metrics::work_given_up();
}
