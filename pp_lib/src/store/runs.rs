//! Runs of workers outside: claimed from the store itself, extended, and told apart when they are over.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::domain::{Json, KindName, MessageId, Progress, Run, Status, Work, WorkCode, WorkId, WorkerName};

/// A place of a worker for one work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The worker.
    pub worker: WorkerName,
    /// The longest silence of the worker.
    pub lease: Duration,
    /// A random number, which tells this claim from all others.
    pub claim: i64,
}

/// A work that a worker has claimed: it is running at this run by this claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRun {
    /// The row.
    pub id: WorkId,
    /// Its kind.
    pub kind: KindName,
    /// Its identity within the kind.
    pub message_id: MessageId,
    /// Its code.
    pub work_code: WorkCode,
    /// Its arguments.
    pub args: Json,
    /// The run.
    pub run: Run,
    /// Earlier attempts that failed.
    pub failures: i32,
    /// Earlier attempts that lost their worker.
    pub lost_leases: i32,
    /// The claim.
    pub claim: i64,
    /// Unix second of the claim, on the store's clock.
    pub began_on: i64,
    /// Unix second in which the lease ends, on the store's clock.
    pub lease_until: i64,
}

/// What tells a claim of a row from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimKey {
    /// The row.
    pub id: WorkId,
    /// The number of the claim.
    pub claim: i64,
    /// Unix second of the claim, on the store's clock.
    pub began_on: i64,
}

impl ClaimKey {
    /// The claim of this run, as its holder names it.
    pub fn held(self, kind: &KindName, run: Run) -> HeldRun {
        HeldRun {
            id: self.id,
            kind: kind.clone(),
            run,
            claim: self.claim,
        }
    }
}

impl ClaimedRun {
    /// Its claim.
    pub fn key(&self) -> ClaimKey {
        ClaimKey {
            id: self.id,
            claim: self.claim,
            began_on: self.began_on,
        }
    }

    /// The same for every attempt of a generation, so that effects outside can be made once.
    pub fn idempotency_key(&self) -> String {
        self.run.idempotency_key(&self.kind, &self.message_id)
    }
}

/// A claim, as its holder names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeldRun {
    /// The row.
    pub id: WorkId,
    /// Its kind.
    pub kind: KindName,
    /// The run.
    pub run: Run,
    /// The claim.
    pub claim: i64,
}

/// An extension of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The claim.
    pub held: HeldRun,
    /// The longest silence of the worker from now on.
    pub lease: Duration,
    /// Unix second, on the store's clock, beyond which no lease lasts.
    pub ends_on: i64,
}

/// Where the row of a claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// The row.
    pub id: WorkId,
    /// The run of the claim.
    pub asked: Run,
    /// Its run.
    pub run: Run,
    /// Its status.
    pub status: Status,
    /// The claim that made it running last, unless that was lost or ended by others.
    pub claim: Option<i64>,
    /// Attempts of this generation that failed.
    pub failures: i32,
    /// True if the work is deleted.
    pub is_deleted: bool,
    /// True if the generation after that of the claim was asked for by a redrive or a retry.
    pub was_redriven: bool,
    /// True if the attempt of the claim ended because its lease ran out.
    pub was_lost: bool,
}

/// A worker that was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its name.
    pub name: WorkerName,
    /// The kinds that it asked for last, or has handlers for.
    pub kinds: Vec<KindName>,
    /// Unix second in which it was heard of first.
    pub since: i64,
    /// Unix second in which it was heard of last.
    pub seen_on: i64,
    /// True if that was a short time ago.
    pub is_there: bool,
}

/// A running work and its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningWork {
    /// The worker; `None` if it has no name.
    pub worker: Option<WorkerName>,
    /// The work.
    pub work: Work,
    /// Unix second in which the run began.
    pub since: i64,
    /// Unix second in which the worker was heard of last about it.
    pub heard_on: i64,
    /// Unix second in which the lease ends.
    pub lease_until: i64,
}

/// A time until something is due; zero for what is due.
pub type UntilDue = (KindName, Duration);

/// Claims of workers that ask the store itself, by way of the API or in a consumer.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Makes due pending rows of these kinds running, each in one of these places: at most as many, with about
    /// [`CLAIMED_BYTES`](super::CLAIMED_BYTES) of arguments. It takes those that are due longest, and none of paused and
    /// undeclared kinds. A repetition after a lost reply finds what the first one claimed; where none follows, the leases
    /// run out.
    async fn claim_runs(&self, kinds: &[KindName], places: &[Place]) -> Result<Vec<ClaimedRun>>;

    /// Which of these kinds has pending rows, and when the first is due. Leaves out paused and undeclared kinds.
    async fn until_due(&self, kinds: &[KindName]) -> Result<Vec<UntilDue>>;

    /// Extends the leases of claims that still hold. Returns for each, in order, the Unix second in which the lease ends;
    /// `None` if the claim is over.
    async fn extend_runs(&self, extensions: &[Extension]) -> Result<Vec<Option<i64>>>;

    /// Where the rows of these claims stand, in no order; none for a row that is gone or of another kind.
    async fn run_states(&self, held: &[HeldRun]) -> Result<Vec<RunState>>;

    /// Stores how far claims are that still hold, with an event for each.
    async fn tell_progress(&self, told: &[(HeldRun, Progress)]) -> Result<()>;

    /// Notes that these workers were heard of, with their kinds. Each may stand here once. Workers that were not heard of
    /// for a day are forgotten.
    async fn workers_heard(&self, workers: &[(WorkerName, Vec<KindName>)]) -> Result<()>;

    /// Workers, the one that was heard of last first.
    async fn workers(&self, limit: u16) -> Result<Vec<WorkerRow>>;

    /// Running works, the one that runs longest first. Ends early at [`PAGE_BYTES`](crate::domain::PAGE_BYTES).
    async fn running_works(&self, limit: u16) -> Result<Vec<RunningWork>>;
}

/// The seconds for which a worker that is heard of no more counts as there: as long as a claim may wait, and some more.
pub(super) const THERE_WITHIN: i64 = 90;

/// The same for a consumer, which is heard of every few seconds.
pub(super) const CONSUMER_THERE_WITHIN: i64 = 15;

/// The seconds after which a worker is forgotten.
pub(super) const FORGOTTEN_AFTER: i64 = 24 * 3600;
