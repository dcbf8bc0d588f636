//! A work as everybody sees it, its bound and its states.
//!
//! Storage and ownership (run, lease) are the business of the store.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::WorkCode;

/// The number of a work, given by the store, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkId(pub i64);

impl fmt::Display for WorkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The bound of a sum: 1 to 2,147,483,647.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AddUpTo(i32);

/// A number outside of [`AddUpTo`]'s range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddUpToError;

impl AddUpTo {
    /// The smallest bound.
    pub const MIN: Self = Self(1);
    /// The largest bound, 2,147,483,647.
    pub const MAX: Self = Self(i32::MAX);

    /// The bound as a number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for AddUpTo {
    type Error = AddUpToError;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        i32::try_from(number)
            .ok()
            .filter(|number| *number >= Self::MIN.0)
            .map(Self)
            .ok_or(AddUpToError)
    }
}

impl FromStr for AddUpTo {
    type Err = AddUpToError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<i64>().map_err(|_| AddUpToError)?.try_into()
    }
}

impl<'de> Deserialize<'de> for AddUpTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Says the bound in every error, also for what is no number at all.
        struct BoundVisitor;

        impl Visitor<'_> for BoundVisitor {
            type Value = AddUpTo;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "add_up_to as a whole number from {} to {}",
                    AddUpTo::MIN,
                    AddUpTo::MAX
                )
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<AddUpTo, E> {
                AddUpTo::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<AddUpTo, E> {
                let bound = i64::try_from(number)
                    .ok()
                    .and_then(|number| AddUpTo::try_from(number).ok());
                bound.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_i64(BoundVisitor)
    }
}

impl fmt::Display for AddUpTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for AddUpToError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "add_up_to must be a whole number from {} to {}",
            AddUpTo::MIN,
            AddUpTo::MAX
        )
    }
}

impl std::error::Error for AddUpToError {}

/// The status of a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waiting to be computed, for the first time or again.
    Pending,
    /// Being computed, under a lease.
    Running,
    /// Computed; `result` has the sum.
    Done,
    /// Given up after its last attempt; among the dead letters.
    Failed,
    /// Cancelled before it was finished.
    Cancelled,
}

impl Status {
    /// Every status there is.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// The name as it stands in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// True if a work may go from this status to that one.
    ///
    /// Only an unfinished work is started, finished, cancelled or tried again; finished ones become pending by an update,
    /// a retry or a redrive.
    pub const fn may_become(self, next: Self) -> bool {
        use Status::{Cancelled, Done, Failed, Pending, Running};
        matches!(
            (self, next),
            (Pending | Running, Done | Failed | Cancelled) | (Pending, Running) | (_, Pending)
        )
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A work, as JSON the nine public fields in their fixed order, and `run_at` where one was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Work {
    /// The store's number for it.
    pub id: WorkId,
    /// Its unique code.
    pub work_code: WorkCode,
    /// The bound of the sum.
    pub add_up_to: AddUpTo,
    /// Unix second of its creation, by the database's clock.
    pub created_on: i64,
    /// Unix second of its last change, by the database's clock.
    pub updated_on: i64,
    /// Its status.
    pub status: Status,
    /// The sum, once done.
    pub result: Option<i64>,
    /// Grows by one with each change that this JSON shows.
    pub version: i64,
    /// Unix second from which it may run; `None` for a work that was to run at once.
    #[serde(default)]
    pub run_at: Option<i64>,
}

impl Work {
    /// True exactly when the status is `done`.
    pub fn done(&self) -> bool {
        self.status == Status::Done
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut work = serializer.serialize_struct("Work", 9 + usize::from(self.run_at.is_some()))?;
        work.serialize_field("id", &self.id)?;
        work.serialize_field("work_code", &self.work_code)?;
        work.serialize_field("add_up_to", &self.add_up_to)?;
        work.serialize_field("done", &self.done())?;
        work.serialize_field("created_on", &self.created_on)?;
        work.serialize_field("updated_on", &self.updated_on)?;
        work.serialize_field("status", &self.status)?;
        work.serialize_field("result", &self.result)?;
        work.serialize_field("version", &self.version)?;
        match self.run_at {
            Some(run_at) => work.serialize_field("run_at", &run_at)?,
            None => work.skip_field("run_at")?,
        }
        work.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_public_fields_in_their_order() {
        let work = Work {
            id: WorkId(21),
            work_code: "api-bjq8euwsEA".parse().unwrap(),
            add_up_to: "4".parse().unwrap(),
            created_on: 1_634_115_736,
            updated_on: 1_634_115_736,
            status: Status::Pending,
            result: None,
            version: 1,
            run_at: None,
        };
        let json = serde_json::to_string(&work).unwrap();
        assert_eq!(
            json,
            r#"{"id":21,"work_code":"api-bjq8euwsEA","add_up_to":4,"done":false,"created_on":1634115736,"updated_on":1634115736,"status":"pending","result":null,"version":1}"#
        );
        assert_eq!(serde_json::from_str::<Work>(&json).unwrap(), work);

        let run_at = Some(1_634_116_000);
        let scheduled = Work { run_at, ..work };
        let longer = serde_json::to_string(&scheduled).unwrap();
        assert_eq!(longer, json.replace("1}", r#"1,"run_at":1634116000}"#));
        assert_eq!(serde_json::from_str::<Work>(&longer).unwrap(), scheduled);
    }

    #[test]
    fn bounds_are_1_to_2147483647() {
        for good in [1_i64, 99, 2_147_483_647] {
            assert_eq!(AddUpTo::try_from(good).map(|bound| i64::from(bound.get())), Ok(good));
        }
        for bad in [0_i64, -1, 2_147_483_648, i64::MAX, i64::MIN] {
            assert_eq!(AddUpTo::try_from(bad), Err(AddUpToError));
        }
    }

    #[test]
    fn every_work_may_start_over_and_only_the_unfinished_finish() {
        for finished in [Status::Done, Status::Failed, Status::Cancelled] {
            for next in Status::ALL {
                assert_eq!(
                    finished.may_become(next),
                    next == Status::Pending,
                    "{finished} to {next}"
                );
            }
        }
        assert!(Status::Pending.may_become(Status::Done) && Status::Running.may_become(Status::Failed));
        assert!(!Status::Running.may_become(Status::Running));
    }
}
