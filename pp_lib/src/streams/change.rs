//! A change in the form of live streams.

use serde::{Deserialize, Serialize};

use crate::domain::{KindName, Status, Variable, WorkCode, WorkId};

/// The data of an unnamed event: one event of a work's history, together with its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct StreamedChange {
    /// The event's id.
    pub id: i64,
    /// The work's id.
    pub work_id: WorkId,
    /// The work's code.
    pub work_code: WorkCode,
    /// What changed.
    pub variable: Variable,
    /// Its value, see [`Variable`].
    pub value: String,
    /// The status of the work afterwards; null for changes older than the streams.
    pub status: Option<Status>,
    /// The time in Unix seconds by the database's clock.
    pub created_on: i64,
    /// The kind of the work. It is left out for sums.
    #[serde(default, skip_serializing_if = "KindName::is_add_up_to")]
    pub kind: KindName,
}
