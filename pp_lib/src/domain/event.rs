//! The history of a work. Events are appended together with the change they tell of, and never altered.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AddUpTo, Json, KindName, WorkCode};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub enum Variable {
    /// The work was taken in; value: its arguments, or the bound of a sum.
    #[serde(rename = "work/created")]
    WorkCreated,
    /// An attempt began; no value.
    #[serde(rename = "compute/start")]
    ComputeStart,
    /// The attempt that finished the work ended; no value.
    #[serde(rename = "compute/stop")]
    ComputeStop,
    /// The work is done; value: the result as JSON.
    #[serde(rename = "compute/result")]
    ComputeResult,
    /// An attempt failed; value: the reason.
    #[serde(rename = "compute/error")]
    ComputeError,
    /// The arguments were changed; value: the new ones, or the new bound of a sum.
    #[serde(rename = "work/updated")]
    WorkUpdated,
    /// The work was cancelled, or deleted, finished or not; value: the reason, if its handler cancelled it.
    #[serde(rename = "work/cancelled")]
    WorkCancelled,
    /// The work was started over: by a retry, or from its dead letter; no value.
    #[serde(rename = "work/redriven")]
    WorkRedriven,
    /// A running work has come further; value: its progress in percent, and its note behind a space.
    #[serde(rename = "compute/progress")]
    ComputeProgress,
    /// An attempt put its work off, which is no failure; value: the wait in seconds.
    #[serde(rename = "compute/snoozed")]
    ComputeSnoozed,
}

impl Variable {
    /// Every variable there is.
    pub const ALL: [Self; 10] = [
        Self::WorkCreated,
        Self::ComputeStart,
        Self::ComputeStop,
        Self::ComputeResult,
        Self::ComputeError,
        Self::WorkUpdated,
        Self::WorkCancelled,
        Self::WorkRedriven,
        Self::ComputeProgress,
        Self::ComputeSnoozed,
    ];

    /// The name as it stands in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkCreated => "work/created",
            Self::ComputeStart => "compute/start",
            Self::ComputeStop => "compute/stop",
            Self::ComputeResult => "compute/result",
            Self::ComputeError => "compute/error",
            Self::WorkUpdated => "work/updated",
            Self::WorkCancelled => "work/cancelled",
            Self::WorkRedriven => "work/redriven",
            Self::ComputeProgress => "compute/progress",
            Self::ComputeSnoozed => "compute/snoozed",
        }
    }
}

/// The value of events that tell of arguments: the bound of a sum, and otherwise the arguments.
pub fn value_of_args<'a>(kind: &KindName, args: &'a Json) -> Cow<'a, str> {
    match AddUpTo::of_args(args) {
        Ok(bound) if kind.is_add_up_to() => bound.to_string().into(),
        _ => args.as_str().into(),
    }
}

impl FromStr for Variable {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|variable| variable.as_str() == text)
            .ok_or(())
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a work's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Event {
    /// Given by the store; the events of one work are ordered by it.
    pub id: i64,
    /// The work it tells of.
    pub work_code: WorkCode,
    /// Its kind.
    pub variable: Variable,
    /// Its value, see [`Variable`]; empty where there is none.
    pub value: String,
    /// Unix second, by the database's clock.
    pub created_on: i64,
}

impl Event {
    /// The bytes of its value.
    pub fn bytes(&self) -> usize {
        self.value.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_database_use_one_name() {
        for variable in Variable::ALL {
            assert_eq!(serde_json::to_string(&variable).unwrap(), format!("\"{variable}\""));
            assert_eq!(variable.as_str().parse(), Ok(variable));
        }
    }
}
