//! The store port: works, what is due, completions, events and the feed of them, dead letters, idempotency
//! keys, leases, the counters, and what goes when it is old. PostgreSQL and SQLite implement it, equal by the suite in `pp_conformance::store`.
//!
//! Every write here is one atomic change, and every write may be repeated after a lost reply: creation is keyed by
//! `message_id`, completion is guarded by generation, attempt and status, a request by its seed, and a change of a work
//! knows what it found the first time. So an adapter repeats on its own what failed for the connection's sake, until
//! its timeout. After [`StoreError::Unavailable`] it is not known whether a write took effect; a caller that repeats it
//! makes a new call. Numbers of rows that a call answers are those of its last try.

mod change_log;
mod dead_letters;
mod given_up;
mod idempotency_keys;
mod leases;
pub mod postgres;
mod refusal;
mod retention;
mod searching;
pub mod sqlite;
mod views;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use change_log::{Change, ChangeLog, Page};
pub use dead_letters::{DeadLetters, DeadMessage, REDRIVEN_BYTES, Redriven, Selection};
pub(crate) use given_up::log_given_up;
pub use idempotency_keys::{Answer, Answered, Begin, Begun, IdempotencyKeys, RequestKey};
pub use leases::Leases;
pub use retention::{Purged, Retention};
pub use views::Views;

use crate::domain::{AddUpTo, Event, MessageId, Run, Status, Variable, Work, WorkCode, WorkCodePrefix, WorkId};
use crate::runtime::Trouble;

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, or not in time. The same call may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It answers, and refuses what it takes when it is well: it is read-only, full or damaged, or somebody changed it.
    /// This says nothing about the call, which may succeed later.
    #[error("the database refuses what it should take: {0}")]
    Unwell(String),
    /// It was found to be damaged. The same call will fail until it is repaired or restored.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A newer program has changed its schema; this one must not go on.
    #[error("a newer version of PP has changed the database: {0}")]
    Outdated(String),
    /// It refused this very call, while it takes others like it; the same call will fail again.
    #[error("the database refused: {0}")]
    Rejected(String),
}

impl Trouble for StoreError {
    fn told(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "the database is unavailable",
            Self::Unwell(_) => {
                "the database refuses what it should take: it is read-only, full or damaged, or was changed"
            }
            Self::Damaged(_) => "the database is damaged: it has to be repaired or restored",
            Self::Outdated(_) => "a newer version of PP has changed the database",
            Self::Rejected(_) => "the database refused",
        }
    }
}

/// Why an attempt ended whose worker fell silent; for events and dead letters.
pub(crate) const LEASE_LOST: &str = "lease lost";
/// Why an attempt ended whose worker was stopped; for events.
pub(crate) const HANDED_BACK: &str = "handed back";

/// What the store's methods return.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A work to be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWork {
    /// The idempotency key, made before the first try.
    pub message_id: MessageId,
    /// Its code; the origin in it decides whether `work/created` is recorded.
    pub work_code: WorkCode,
    /// Its bound.
    pub add_up_to: AddUpTo,
    /// When it is to run, in Unix seconds; at once when there is none or it is over.
    pub run_at: Option<i64>,
}

/// What became of a change to a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<T> {
    /// It took effect.
    Applied(T),
    /// The work is at another version than the one that was to be changed. Nothing changed.
    OtherVersion,
    /// The work's status, which is this one, rules the change out. Nothing changed.
    WrongStatus(Status),
    /// There is no such work.
    Missing,
}

impl<T> Changed<T> {
    /// The same with something else in place of what it came to.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Changed<U> {
        match self {
            Self::Applied(what) => Changed::Applied(change(what)),
            Self::OtherVersion => Changed::OtherVersion,
            Self::WrongStatus(status) => Changed::WrongStatus(status),
            Self::Missing => Changed::Missing,
        }
    }
}

/// Which works a search is for; the newest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Codes that begin like this.
    pub work_code: Option<WorkCodePrefix>,
    /// Works in (`true`) or not in (`false`) this status.
    pub status: Option<(Status, bool)>,
    /// Created at this Unix second or later.
    pub since: Option<i64>,
    /// With an id below this one: where the page before ended.
    pub before: Option<WorkId>,
    /// At most so many.
    pub limit: u16,
}

/// Works, as the API serves them. Deleted works are never among what is read.
#[async_trait]
pub trait WorkRows: Send + Sync {
    /// Inserts works, due at once or at their `run_at`. One answer for each, in order: the work as it now stands,
    /// whether inserted now or by an earlier call with the same `message_id`; `None` where another work has the code,
    /// so that a new code is needed.
    async fn create(&self, works: &[NewWork]) -> Result<Vec<Option<Work>>>;

    /// Inserts works as [`Self::create`] does, but all of them or, where another work has one of the codes, none.
    async fn create_all(&self, works: &[NewWork]) -> Result<Option<Vec<Work>>>;

    /// The works with these ids, in no particular order; unknown ids are left out.
    async fn by_ids(&self, ids: &[WorkId]) -> Result<Vec<Work>>;

    /// The works with these codes, in no particular order; unknown codes are left out.
    async fn by_codes(&self, codes: &[WorkCode]) -> Result<Vec<Work>>;

    /// The works that match, newest first.
    async fn search(&self, search: &Search) -> Result<Vec<Work>>;
}

/// Works, as their owners change them. What is under way for what a work was before has no effect any more.
///
/// A change whose reply is lost is repeated within its call and takes effect once: it takes for its own doing that the
/// work is one generation further, with the bound it gives it, or cancelled one version further, or gone. Whoever did
/// the very same thing in between cannot be told from it, and need not be. A new call after [`StoreError::Unavailable`] is another change: it counts
/// another generation, or finds another version or nothing.
#[async_trait]
pub trait WorkChanges: Send + Sync {
    /// Gives a work another bound, to be computed anew: pending, as the next generation, due after `pause` so that a
    /// series of updates computes once; one that waits for its `run_at` goes on waiting. Only at this version, if
    /// given. Its dead letter is gone with it.
    async fn update(
        &self,
        id: WorkId,
        add_up_to: AddUpTo,
        version: Option<i64>,
        pause: Duration,
    ) -> Result<Changed<Work>>;

    /// Ends a pending or running work. It stays readable as `cancelled`; what is under way for it has no effect any more.
    /// Only at this version, if given.
    async fn cancel(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>>;

    /// Starts a failed or cancelled work over: pending, as the next generation, due at once or at its `run_at`. Only at
    /// this version, if given. Its dead letter is gone with it.
    async fn retry(&self, id: WorkId, version: Option<i64>) -> Result<Changed<Work>>;

    /// Cancels a work that is unfinished, and removes it from what is read; its row stays, so that a late redelivery
    /// finds that it is gone. Only at this version, if given. Its dead letter is gone with it.
    async fn delete(&self, id: WorkId, version: Option<i64>) -> Result<Changed<()>>;
}

/// The history of works.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The events of a work with ids above `after`, oldest first and at most `limit`, or `None` when there is no such
    /// work.
    async fn events_after(&self, id: WorkId, after: i64, limit: u16) -> Result<Option<Vec<Event>>>;

    /// The first [`MOST_EVENTS`] events of a work, which are all of an ordinary one.
    async fn events(&self, id: WorkId) -> Result<Option<Vec<Event>>> {
        self.events_after(id, 0, MOST_EVENTS).await
    }
}

/// How many events of a work are read at once.
pub const MOST_EVENTS: u16 = 1000;

/// A moment by the store's clock, for handing back to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAt(pub i64);

/// A due row, held for one dispatcher until `due_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The row.
    pub id: WorkId,
    /// Its idempotency key.
    pub message_id: MessageId,
    /// Its code.
    pub work_code: WorkCode,
    /// Its bound.
    pub add_up_to: AddUpTo,
    /// The run it waits for.
    pub run: Run,
    /// How many of the attempts before failed by themselves.
    pub failures: i32,
    /// How many of the attempts before ended with their worker.
    pub lost_leases: i32,
    /// When the claim runs out and the row is due again.
    pub due_at: DueAt,
}

/// The outbox: pending rows that are due, on their way to the broker.
#[async_trait]
pub trait DispatchRows: Send + Sync {
    /// Takes the longest due pending rows, at most `limit`, and makes each due again after `hold`, so that no other
    /// dispatcher takes it and none is lost with this one. Only rows that fell due `within` this long, if given.
    async fn claim(&self, within: Option<Duration>, hold: Duration, limit: u16) -> Result<Vec<Claim>>;

    /// Records that claims were sent: nothing is due any more, except where the row moved on since it was claimed.
    async fn mark_sent(&self, claims: &[Claim]) -> Result<()>;

    /// Gives claims back whose rows were not sent: they are due again at once, except where the row moved on.
    async fn give_back(&self, claims: &[Claim]) -> Result<()>;

    /// Makes pending rows due again that were claimed or sent longer ago than this, or later than now by a clock that was
    /// set back since; how many.
    async fn release_sent(&self, longer_than: Duration) -> Result<u64>;

    /// How long until the next unfinished row falls due: a wait for its time or a retry, a claim, a lease. Zero when one
    /// did within the last second, which whoever looked before that has missed; `None` when none will.
    async fn next_due(&self) -> Result<Option<Duration>>;

    /// Counts every pending row that was claimed or sent as one that lost its worker: due at once, as the next attempt;
    /// those that lost more than `max_lost` fail for good. How many. For a broker that ended with the only worker.
    async fn lose_sent(&self, max_lost: i32) -> Result<u64>;

    /// Counts every running row as one that lost its worker, whatever its lease says: due at once, as the next attempt;
    /// those that lost more than `max_lost` fail for good. How many. For whoever knows that all workers ended.
    async fn lose_running(&self, max_lost: i32) -> Result<u64>;

    /// The store's clock, as the time since the Unix epoch.
    async fn clock(&self) -> Result<Duration>;

    /// Ends waits that became too long because the store's clock was set back: what began to wait later than now waits as
    /// long as it did then, from now on, be it a claim, a retry, a running row or one of the [`Leases`]; what was due is
    /// due. A `run_at` stays as it is. Looks at all rows that wait, or at the first `most` of them; how many it changed.
    async fn shorten_waits(&self, most: Option<u32>) -> Result<u64>;
}

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

    /// Pending rows by their code, whether due or not, for demands that name a row but not its state.
    async fn pending(&self, codes: &[WorkCode]) -> Result<Vec<Claim>>;

    /// Takes running rows whose lease ran out back to pending, as the next attempt and due at once; those that lost
    /// more leases than `max_lost` fail for good. How many rows, at most `limit`.
    async fn rescue(&self, max_lost: i32, limit: u16) -> Result<u64>;
}

/// The truth: everything a shell needs of a database.
#[async_trait]
pub trait Store:
    WorkRows
    + WorkChanges
    + EventLog
    + ChangeLog
    + DispatchRows
    + Completions
    + DeadLetters
    + IdempotencyKeys
    + Leases
    + Views
    + Retention
{
    /// Whether it answers, and knows the schema of this program.
    async fn check(&self) -> Result<()>;

    /// Whether it takes changes: tries one in the tables that works need, and takes it back.
    async fn check_writes(&self) -> Result<()>;
}

/// A store, whichever it is.
pub type AnyStore = Arc<dyn Store>;
