//! Puts works in within the caller's own diesel transaction: they exist if it commits.

use diesel::pg::PgConnection;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use crate::domain::{AddUpTo, Json, KindName, MessageId, Origin, Unique, WorkCode, WorkId};
use crate::runtime::{new_message_id, new_work_code};
use crate::store::{NewWork, sqlite};

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

    /// The options of `pp_enqueue`.
    fn options(&self) -> String {
        let mut options = json!({ "wake": self.wake });
        if let Some(run_at) = self.run_at {
            options["run_at"] = run_at.into();
        }
        if let Some(unique) = &self.unique {
            options["unique"] = unique.as_str().into();
        }
        if let Some(message_id) = &self.message_id {
            options["message_id"] = message_id.as_str().into();
        }
        options.to_string()
    }

    /// The row, under a new code.
    fn row(&self, message_id: &MessageId) -> NewWork {
        NewWork {
            kind: self.kind.clone(),
            message_id: message_id.clone(),
            work_code: new_work_code(Origin::App),
            args: self.args.clone(),
            run_at: self.run_at,
            unique: self.unique.clone(),
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

#[derive(QueryableByName)]
struct EnqueuedRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    work_code: String,
    #[diesel(sql_type = Bool)]
    duplicate: bool,
}

impl EnqueueConnection for PgConnection {
    fn enqueue(&mut self, job: &NewJob) -> QueryResult<Enqueued> {
        let row: EnqueuedRow = sql_query("SELECT id, work_code, duplicate FROM pp_enqueue($1, $2::json, $3::json)")
            .bind::<Text, _>(job.kind.as_str())
            .bind::<Text, _>(job.args.as_str())
            .bind::<Text, _>(job.options())
            .get_result(self)?;
        let work_code = row.work_code.parse();
        Ok(Enqueued {
            id: WorkId(row.id),
            work_code: work_code.map_err(|error| Error::DeserializationError(Box::new(error)))?,
            duplicate: row.duplicate,
        })
    }
}

impl EnqueueConnection for SqliteConnection {
    fn enqueue(&mut self, job: &NewJob) -> QueryResult<Enqueued> {
        if job.kind.is_add_up_to() {
            AddUpTo::of_args(&job.args).map_err(refused)?;
        }
        if job.run_at.is_some_and(|run_at| run_at < 0) {
            return Err(refused("run_at must be Unix seconds".to_owned()));
        }
        let message_id = job.message_id.clone().unwrap_or_else(new_message_id);
        // A savepoint within the caller's transaction.
        self.transaction(|connection| {
            loop {
                let row = job.row(&message_id);
                // None where another work has the code.
                if let Some(created) = sqlite::create_works(connection, std::slice::from_ref(&row))?.remove(0) {
                    return Ok(Enqueued {
                        id: created.id,
                        duplicate: created.work_code != row.work_code,
                        work_code: created.work.work_code,
                    });
                }
            }
        })
    }
}

/// The error for a work that cannot be put in.
pub(crate) fn refused(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::QueryBuilderError(why.into())
}
