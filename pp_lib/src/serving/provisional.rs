//! The JSON of an accepted demand, served until a worker has written its work.

use serde::{Deserialize, Serialize};

use crate::cache::Provisional;
use crate::domain::{AddUpTo, Status, WorkCode};

/// The JSON of a work that has no row yet: that of a work, with `id` null and `version` 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionalWork {
    /// Null until the row exists.
    pub id: Option<i64>,
    /// The future work's code.
    pub work_code: WorkCode,
    /// The future work's bound.
    pub add_up_to: AddUpTo,
    /// Always false.
    pub done: bool,
    /// The time of acceptance, in Unix seconds.
    pub created_on: i64,
    /// Equal to `created_on`.
    pub updated_on: i64,
    /// Always pending.
    pub status: Status,
    /// Always null.
    pub result: Option<i64>,
    /// Always 0, which precedes every version of a work.
    pub version: i64,
}

impl From<Provisional> for ProvisionalWork {
    fn from(demand: Provisional) -> Self {
        Self {
            id: None,
            work_code: demand.work_code,
            add_up_to: demand.add_up_to,
            done: false,
            created_on: demand.created_on,
            updated_on: demand.created_on,
            status: Status::Pending,
            result: None,
            version: 0,
        }
    }
}
