//! A change as live streams tell of it.

use serde::{Deserialize, Serialize};

use crate::domain::{Status, Variable, WorkCode, WorkId};

/// The data of an unnamed event: one line of a work's history, with the work it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamedChange {
    /// Of the line.
    pub id: i64,
    /// Of the work.
    pub work_id: WorkId,
    /// The work's.
    pub work_code: WorkCode,
    /// What happened.
    pub variable: Variable,
    /// What belongs to it, see [`Variable`].
    pub value: String,
    /// Where the work stood afterwards; unknown for what is older than the streams.
    pub status: Option<Status>,
    /// When, in Unix seconds by the database's clock.
    pub created_on: i64,
}
