//! Puts works in with the statement of the store.

use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult};

use super::{EnqueueConnection, Enqueued, NewJob, refused};
use crate::domain::{AddUpTo, MessageId, Origin};
use crate::runtime::{new_message_id, new_work_code};
use crate::store::{NewWork, sqlite};

impl EnqueueConnection for SqliteConnection {
    fn enqueue(&mut self, job: &NewJob) -> QueryResult<Enqueued> {
        if job.kind.is_own() {
            return Err(refused(format!("works of kind {} are made by PP alone", job.kind)));
        }
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
                let row = row(job, &message_id);
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

/// The row, under a new code.
fn row(job: &NewJob, message_id: &MessageId) -> NewWork {
    NewWork {
        kind: job.kind.clone(),
        message_id: message_id.clone(),
        work_code: new_work_code(Origin::App),
        args: job.args.clone(),
        run_at: job.run_at,
        unique: job.unique.clone(),
        notify: None,
    }
}
