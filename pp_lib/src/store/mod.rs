//! The store port: works, their events and the feed of events, dispatch, completions, dead letters, idempotency keys,
//! API keys and the audit, leases, counters and retention. PostgreSQL and SQLite implement it; the suite in `pp_conformance::store` holds both
//! to the same behaviour.
//!
//! Every write is one atomic change, and may be repeated after a lost reply. Creation is keyed by `message_id`, a
//! completion is guarded by run and status, a request by its seed; a change of a work remembers the row it found first.
//! So an adapter repeats by itself, until its timeout, what failed because of the connection. After
//! [`StoreError::Unavailable`] the caller cannot know whether a write took effect, and repeating it is a new call. The
//! number of rows that a call returns is that of its last try.

#![cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    allow(
        dead_code,
        unused_imports,
        reason = "without an adapter nothing uses what adapters share"
    )
)]

mod access;
mod change_log;
mod completion;
mod dead_letters;
mod dispatch;
mod error;
mod event_log;
mod idempotency_keys;
mod kinds;
mod leases;
pub(crate) mod metrics;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod refusal;
mod retention;
mod runs;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod searching;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod views;
mod work_changes;
mod works;

use std::sync::Arc;

use async_trait::async_trait;

pub use access::{ApiKeys, AuditFilter, AuditLog, KeyCreated, KeyWorks, MOST_KEYS, NewKey, WorksCounted};
pub use change_log::{CHANGES_BYTES, Change, ChangeLog, Page};
pub use completion::{Completed, Completion, Completions, Guard, Outcome, RunningAttempt};
pub(crate) use completion::{HANDED_BACK, LEASE_LOST, log_given_up};
pub use dead_letters::{DeadLetters, DeadMessage, LetterFilter, REDRIVEN_BYTES, Redriven, Selection};
pub use dispatch::{CLAIMED_BYTES, Claim, DispatchRows, DueAt};
pub use error::{Result, StoreError};
pub use event_log::{EventLog, MOST_EVENTS, may_have_more_events};
pub use idempotency_keys::{Answer, Answered, Begin, Begun, IdempotencyKeys, RequestKey};
pub use kinds::{KindRow, KindRows, MOST_KINDS};
pub use leases::Leases;
pub use metrics::PoolState;
pub(crate) use metrics::dead_messages;
pub use retention::{Purged, Retention, RetentionTimes};
pub use runs::{ClaimKey, ClaimedRun, Extension, HeldRun, Place, RunState, RunningWork, Runs, UntilDue, WorkerRow};
pub use views::Views;
pub use work_changes::{Changed, WorkChanges};
pub use works::{NewWork, Search, WorkRows};

/// What a database tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// The name of the database system.
    pub system: &'static str,
    /// Its version, as in `15.4`.
    pub version: String,
    /// Its clock, in milliseconds since 1970.
    pub now_ms: i64,
}

/// The whole store.
#[async_trait]
pub trait Store:
    WorkRows
    + ApiKeys
    + AuditLog
    + WorkChanges
    + EventLog
    + ChangeLog
    + DispatchRows
    + Completions
    + DeadLetters
    + IdempotencyKeys
    + KindRows
    + Leases
    + Runs
    + Views
    + Retention
{
    /// Fails unless the database answers and has the schema of this program.
    async fn check(&self) -> Result<()>;

    /// Fails unless the database takes changes: writes to the tables that works need, and rolls back.
    async fn check_writes(&self) -> Result<()>;

    /// Its system, version and clock, for operators.
    async fn about(&self) -> Result<DatabaseInfo>;

    /// Its connections, if it has a pool of them.
    fn pool(&self) -> Option<PoolState> {
        None
    }
}

/// A store of either kind.
pub type AnyStore = Arc<dyn Store>;
