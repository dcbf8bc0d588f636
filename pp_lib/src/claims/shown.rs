//! A claimed run as its worker is shown it.

use serde::Serialize;

use super::RunToken;
use crate::domain::{Json, KindName, WorkCode};
use crate::store::ClaimedRun;

/// The JSON of a claimed run: in the answer to a claim, and in what is pushed.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema), schemars(rename = "ClaimedRun"))]
pub struct ShownRun<'a> {
    /// What proves the run in its reports. It belongs into bodies alone, never into a URL.
    pub run: String,
    /// The number of the work.
    pub id: i64,
    /// Its code.
    pub work_code: &'a WorkCode,
    /// Its kind.
    pub kind: &'a KindName,
    /// Its arguments.
    pub args: &'a Json,
    /// The attempt, from 1.
    pub attempt: i32,
    /// The same for all attempts of a generation.
    pub idempotency_key: String,
    /// Unix second in which the lease ends.
    pub lease_until: i64,
}

impl<'a> ShownRun<'a> {
    /// The JSON of this run.
    pub fn of((token, run): &'a (RunToken, ClaimedRun)) -> Self {
        Self {
            run: token.to_string(),
            id: run.id.0,
            work_code: &run.work_code,
            kind: &run.kind,
            args: &run.args,
            attempt: run.run.attempt,
            idempotency_key: run.idempotency_key(),
            lease_until: run.lease_until,
        }
    }
}
