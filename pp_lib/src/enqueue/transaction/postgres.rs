//! Puts works in with the function `pp_enqueue` of the schema.

use diesel::pg::PgConnection;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::{QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::json;

use super::{EnqueueConnection, Enqueued, NewJob};
use crate::domain::WorkId;

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
            .bind::<Text, _>(options(job))
            .get_result(self)?;
        let work_code = row.work_code.parse();
        Ok(Enqueued {
            id: WorkId(row.id),
            work_code: work_code.map_err(|error| Error::DeserializationError(Box::new(error)))?,
            duplicate: row.duplicate,
        })
    }
}

/// The options of `pp_enqueue`.
fn options(job: &NewJob) -> String {
    let mut options = json!({ "wake": job.wake });
    if let Some(run_at) = job.run_at {
        options["run_at"] = run_at.into();
    }
    if let Some(unique) = &job.unique {
        options["unique"] = unique.as_str().into();
    }
    if let Some(message_id) = &job.message_id {
        options["message_id"] = message_id.as_str().into();
    }
    options.to_string()
}
