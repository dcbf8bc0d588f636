//! What workers report: outcomes, and attempts that go on or end without one.

use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{AddUpTo, MessageId, Run, Status, Variable, WorkCode};

/// Why an attempt ended whose worker fell silent; for events and dead letters.
pub(crate) const LEASE_LOST: &str = "lease lost";
/// Why an attempt ended whose worker was stopped; for events.
pub(crate) const HANDED_BACK: &str = "handed back";

/// What an attempt at a demand came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It takes longer: the row is `running` and belongs to this worker until the lease runs out.
    Running {
        /// How long the worker may be silent.
        lease: Duration,
    },
    /// Computed.
    Done {
        /// The sum.
        result: i64,
    },
    /// Failed; to be tried again after the delay, as the next attempt.
    Retry {
        /// Why, for the events.
        reason: String,
        /// How long to wait.
        delay: Duration,
    },
    /// Failed for good: `failed`, and a dead letter.
    Failed {
        /// Why, for the events and the dead letter.
        reason: String,
    },
}

impl Outcome {
    /// The status of the row afterwards.
    pub fn status(&self) -> Status {
        match self {
            Self::Running { .. } => Status::Running,
            Self::Done { .. } => Status::Done,
            Self::Retry { .. } => Status::Pending,
            Self::Failed { .. } => Status::Failed,
        }
    }

    /// How long from now the row is due: the end of its lease or its next attempt.
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Running { lease } => Some(*lease),
            Self::Retry { delay, .. } => Some(*delay),
            Self::Done { .. } | Self::Failed { .. } => None,
        }
    }

    /// The sum, when there is one.
    pub fn result(&self) -> Option<i64> {
        if let Self::Done { result } = self {
            Some(*result)
        } else {
            None
        }
    }

    /// Why the attempt failed, when it did.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Retry { reason, .. } | Self::Failed { reason } => Some(reason),
            Self::Running { .. } | Self::Done { .. } => None,
        }
    }
}

/// The state a row must be in for an outcome to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No row yet: the outcome comes with the row, unless the `message_id` has one already.
    NoRow,
    /// A row that is pending at this run.
    Pending(Run),
    /// A row that is running at this run.
    Running(Run),
}

impl Guard {
    /// The run of the row; that of a row that is not there yet is the first.
    pub fn run(self) -> Run {
        match self {
            Self::NoRow => Run::FIRST,
            Self::Pending(run) | Self::Running(run) => run,
        }
    }

    /// The same for the first run.
    pub(crate) fn as_first(self) -> Self {
        match self {
            Self::NoRow => Self::NoRow,
            Self::Pending(_) => Self::Pending(Run::FIRST),
            Self::Running(_) => Self::Running(Run::FIRST),
        }
    }

    /// The status the row must have, when there must be a row.
    pub fn status(self) -> Option<Status> {
        match self {
            Self::NoRow => None,
            Self::Pending(_) => Some(Status::Pending),
            Self::Running(_) => Some(Status::Running),
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
    /// The bound that was computed; must be the row's.
    pub add_up_to: AddUpTo,
    /// What must hold.
    pub guard: Guard,
    /// What happens then.
    pub outcome: Outcome,
}

impl Completion {
    /// The events that tell of it, in order: an attempt that was not announced as running starts now.
    pub fn events(&self) -> impl Iterator<Item = (Variable, String)> {
        let started = !matches!(self.guard, Guard::Running(_));
        let result = self.outcome.result();
        [
            started.then(|| (Variable::ComputeStart, String::new())),
            result.map(|_| (Variable::ComputeStop, String::new())),
            result.map(|sum| (Variable::ComputeResult, sum.to_string())),
            self.outcome
                .reason()
                .map(|reason| (Variable::ComputeError, reason.to_owned())),
        ]
        .into_iter()
        .flatten()
    }
}

/// What became of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// It took effect, with its events.
    Applied,
    /// The guard did not hold: the row is finished, or has moved on. Nothing changed, and nothing is left to do. So it
    /// is, too, when an earlier try of the call took effect and its reply was lost; but for [`Outcome::Running`] that
    /// is [`Self::Applied`], since something is left to do. A new call after [`StoreError::Unavailable`] cannot tell:
    /// what it had made running waits for the end of its lease.
    Superseded,
    /// Another work has the code of a row that was to be inserted. Nothing changed; a new code is needed.
    CodeTaken,
}

/// A running attempt, by what guards it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningAttempt {
    /// The demand's identity.
    pub message_id: MessageId,
    /// The row's run.
    pub run: Run,
}

/// Where workers record what they did.
#[async_trait]
pub trait Completions: Send + Sync {
    /// Completes all of these or, on an error, none; one answer for each, in order. Each `message_id` may stand here
    /// once.
    async fn complete(&self, completions: &[Completion]) -> Result<Vec<Completed>>;

    /// Extends the leases of running attempts; for each, in order, whether it still was this worker's.
    async fn extend_leases(&self, attempts: &[RunningAttempt], lease: Duration) -> Result<Vec<bool>>;

    /// Hands running attempts back that are still this worker's: pending, due at once, as the next attempt, counted
    /// neither as failures nor as lost leases. How many rows.
    async fn hand_back(&self, attempts: &[RunningAttempt]) -> Result<u64>;

    /// Takes running rows whose lease ran out back to pending, as the next attempt and due at once; those that lost
    /// more leases than `max_lost` fail for good. How many rows, at most `limit`.
    async fn rescue(&self, max_lost: i32, limit: u16) -> Result<u64>;
}

/// Logs that a work failed for good; call it once that is committed.
pub(crate) fn log_given_up(work_code: impl Display, reason: &str) {
    log::warn!("work {work_code} is given up: {reason}");
}
