//! A demand that was accepted, as it is served until a worker has written its work.

use serde::{Deserialize, Serialize};

use crate::cache::Provisional;
use crate::domain::{AddUpTo, Status, WorkCode};

/// The JSON of a work that has no row yet: that of a work, with `id` null and `version` 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionalWork {
    /// Null: the row gives it.
    pub id: Option<i64>,
    /// The code that the work will have.
    pub work_code: WorkCode,
    /// Its bound.
    pub add_up_to: AddUpTo,
    /// Not yet.
    pub done: bool,
    /// When it was accepted, in Unix seconds.
    pub created_on: i64,
    /// The same.
    pub updated_on: i64,
    /// Pending.
    pub status: Status,
    /// None yet.
    pub result: Option<i64>,
    /// 0: before every version of a work.
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
