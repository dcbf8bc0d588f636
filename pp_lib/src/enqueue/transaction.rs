//! Puts works in within the caller's own diesel transaction: they exist if it commits.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use diesel::QueryResult;
use diesel::result::Error;

use crate::domain::{Json, KindName, MessageId, Unique, WorkCode, WorkId};

/// A work to be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its kind.
    pub kind: KindName,
    /// Its arguments.
    pub args: Json,
    /// Unix second from which it may run; without one it runs at once.
    pub run_at: Option<i64>,
    /// While a work of the kind with this text is unfinished, the answer is that work.
    pub unique: Option<Unique>,
    /// Its identity within the kind; a new one by default. A work with it that is there already is the answer.
    pub message_id: Option<MessageId>,
    /// False if the commit must not wake the dispatcher, which then finds the work when it polls. On PostgreSQL, a
    /// commit that wakes waits for other commits that do, and a transaction that wakes cannot be prepared.
    pub wake: bool,
}

impl NewJob {
    /// A work of this kind with these arguments, and no further wishes.
    pub fn new(kind: KindName, args: Json) -> Self {
        Self {
            kind,
            args,
            run_at: None,
            unique: None,
            message_id: None,
            wake: true,
        }
    }
}

/// The answer for a [`NewJob`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The work's number.
    pub id: WorkId,
    /// The work's code.
    pub work_code: WorkCode,
    /// True if the work was there before: it has the same `message_id`, or it is unfinished and has the same `unique`.
    pub duplicate: bool,
}

/// A connection to the database that has PP's tables.
pub trait EnqueueConnection {
    /// See [`enqueue`].
    fn enqueue(&mut self, job: &NewJob) -> QueryResult<Enqueued>;
}

/// Puts a work in. Call it within a transaction, with what the work belongs to: if that commits, the work is sent, and
/// if it is rolled back, there never was one.
///
/// On PostgreSQL this calls `pp_enqueue`, for which the role needs the right. On SQLite the dispatcher finds the work when
/// it polls.
///
/// # Errors
/// The database's. Arguments that are not of the kind, or a moment that is none, are such errors too; on PostgreSQL they
/// end the transaction.
pub fn enqueue<C: EnqueueConnection>(connection: &mut C, job: &NewJob) -> QueryResult<Enqueued> {
    connection.enqueue(job)
}

/// The error for a work that cannot be put in.
pub(crate) fn refused(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::QueryBuilderError(why.into())
}
