//! The store port: works, what is due, completions, events and the feed of them, dead letters, idempotency
//! keys, leases, the counters, and what goes when it is old. PostgreSQL and SQLite implement it, equal by the suite in `pp_conformance::store`.
//!
//! Every write here is one atomic change, and every write may be repeated after a lost reply: creation is keyed by
//! `message_id`, completion is guarded by generation, attempt and status, a request by its seed, and a change of a work
//! knows what it found the first time. So an adapter repeats on its own what failed for the connection's sake, until
//! its timeout. After [`StoreError::Unavailable`] it is not known whether a write took effect; a caller that repeats it
//! makes a new call. Numbers of rows that a call answers are those of its last try.

mod change_log;
mod completion;
mod dead_letters;
mod dispatch;
mod error;
mod event_log;
mod idempotency_keys;
mod leases;
pub mod postgres;
mod refusal;
mod retention;
mod searching;
pub mod sqlite;
mod views;
mod work_changes;
mod works;

use std::sync::Arc;

use async_trait::async_trait;

pub use change_log::{Change, ChangeLog, Page};
pub use completion::{Completed, Completion, Completions, Guard, Outcome, RunningAttempt};
pub(crate) use completion::{HANDED_BACK, LEASE_LOST, log_given_up};
pub use dead_letters::{DeadLetters, DeadMessage, REDRIVEN_BYTES, Redriven, Selection};
pub use dispatch::{Claim, DispatchRows, DueAt};
pub use error::{Result, StoreError};
pub use event_log::{EventLog, MOST_EVENTS};
pub use idempotency_keys::{Answer, Answered, Begin, Begun, IdempotencyKeys, RequestKey};
pub use leases::Leases;
pub use retention::{Purged, Retention};
pub use views::Views;
pub use work_changes::{Changed, WorkChanges};
pub use works::{NewWork, Search, WorkRows};

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
