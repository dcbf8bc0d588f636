//! A work as everybody sees it, and its states.
//!
//! Storage and ownership (run, lease) are the business of the store.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AddUpTo, Json, KindName, Unique, WorkCode};

/// The number of a work, given by the store, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkId(pub i64);

impl fmt::Display for WorkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The status of a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
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

/// A work.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Fields")]
pub struct Work {
    /// The store's number for it.
    pub id: WorkId,
    /// Its unique code.
    pub work_code: WorkCode,
    /// Its kind.
    pub kind: KindName,
    /// Its arguments.
    pub args: Json,
    /// Unix second of its creation, by the database's clock.
    pub created_on: i64,
    /// Unix second of its last change, by the database's clock.
    pub updated_on: i64,
    /// Its status.
    pub status: Status,
    /// The result, once done.
    pub result: Option<Json>,
    /// Grows by one with each change that this JSON shows.
    pub version: i64,
    /// Unix second from which it may run; `None` for a work that was to run at once.
    pub run_at: Option<i64>,
    /// While it is unfinished, no other work of its kind with this text begins.
    pub unique: Option<Unique>,
    /// The reason why the last attempt of this generation failed.
    pub error: Option<String>,
    /// The current attempt of this generation, or the last one, from 1. The JSON shows it from the second on.
    pub attempt: i32,
    /// How far it is, while it is running and if its handler says so.
    pub progress: Option<Progress>,
}

/// How far a running work is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// The handler's words for it, at most [`Self::LONGEST_NOTE`] bytes; may be empty.
    pub note: String,
}

impl Progress {
    /// The longest note, in bytes.
    pub const LONGEST_NOTE: usize = 200;

    /// A progress within its bounds: at most 100 percent, and what fits of the note. NUL, which PostgreSQL refuses, is
    /// replaced.
    pub fn new(percent: u8, note: impl Into<String>) -> Self {
        let mut note: String = note.into();
        note.truncate(note.floor_char_boundary(Self::LONGEST_NOTE));
        Self {
            percent: percent.min(100),
            note: note.replace('\0', " "),
        }
    }

    /// The value of its event.
    pub fn event(&self) -> String {
        match self.note.as_str() {
            "" => self.percent.to_string(),
            note => format!("{} {note}", self.percent),
        }
    }
}

impl Work {
    /// True exactly when the status is `done`.
    pub fn done(&self) -> bool {
        self.status == Status::Done
    }

    /// The bytes of its arguments and its result.
    pub fn bytes(&self) -> usize {
        self.args.bytes() + self.result.as_ref().map_or(0, Json::bytes)
    }

    /// The bound of a sum; `None` for works of other kinds.
    pub fn add_up_to(&self) -> Option<AddUpTo> {
        (self.kind.is_add_up_to().then(|| AddUpTo::of_args(&self.args))?).ok()
    }
}

/// The JSON of a work, or of a demand whose work has no row yet. A sum has `add_up_to` where works of other kinds have
/// `kind` and `args`, and `kind` behind the fields that it had before there were kinds.
pub(crate) struct ShownWork<'a> {
    /// `None` while there is no row.
    pub(crate) id: Option<WorkId>,
    pub(crate) work_code: &'a WorkCode,
    pub(crate) kind: &'a KindName,
    pub(crate) args: &'a Json,
    pub(crate) created_on: i64,
    pub(crate) updated_on: i64,
    pub(crate) status: Status,
    pub(crate) result: Option<&'a Json>,
    pub(crate) version: i64,
    pub(crate) run_at: Option<i64>,
    pub(crate) unique: Option<&'a Unique>,
    pub(crate) error: Option<&'a str>,
    pub(crate) attempt: i32,
    pub(crate) progress: Option<&'a Progress>,
    /// True in the answer to a request that made no work, because this one is unfinished.
    pub(crate) duplicate: bool,
}

impl Work {
    fn shown(&self, duplicate: bool) -> ShownWork<'_> {
        ShownWork {
            id: Some(self.id),
            work_code: &self.work_code,
            kind: &self.kind,
            args: &self.args,
            created_on: self.created_on,
            updated_on: self.updated_on,
            status: self.status,
            result: self.result.as_ref(),
            version: self.version,
            run_at: self.run_at,
            unique: self.unique.as_ref(),
            error: self.error.as_deref(),
            attempt: self.attempt,
            progress: self.progress.as_ref(),
            duplicate,
        }
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown(false).serialize(serializer)
    }
}

/// The answer to a request for a new work. Its JSON is that of the work, with `"duplicate":true` for a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedWork {
    /// The work.
    pub work: Work,
    /// True if it is another request's work, which is unfinished and has the same [`Unique`].
    pub duplicate: bool,
}

impl Deref for CreatedWork {
    type Target = Work;

    fn deref(&self) -> &Work {
        &self.work
    }
}

impl Serialize for CreatedWork {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.work.shown(self.duplicate).serialize(serializer)
    }
}

impl Serialize for ShownWork<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut work = serializer.serialize_map(None)?;
        work.serialize_entry("id", &self.id)?;
        work.serialize_entry("work_code", self.work_code)?;
        let bound = (self.kind.is_add_up_to())
            .then(|| AddUpTo::of_args(self.args).ok())
            .flatten();
        match bound {
            Some(bound) => work.serialize_entry("add_up_to", &bound)?,
            None => {
                work.serialize_entry("kind", self.kind)?;
                work.serialize_entry("args", self.args)?;
            }
        }
        work.serialize_entry("done", &(self.status == Status::Done))?;
        work.serialize_entry("created_on", &self.created_on)?;
        work.serialize_entry("updated_on", &self.updated_on)?;
        work.serialize_entry("status", &self.status)?;
        work.serialize_entry("result", &self.result)?;
        work.serialize_entry("version", &self.version)?;
        if bound.is_some() {
            work.serialize_entry("kind", self.kind)?;
        }
        if let Some(run_at) = self.run_at {
            work.serialize_entry("run_at", &run_at)?;
        }
        if let Some(unique) = self.unique {
            work.serialize_entry("unique", unique)?;
        }
        if let Some(error) = self.error {
            work.serialize_entry("error", error)?;
        }
        if self.attempt > 1 {
            work.serialize_entry("attempt", &self.attempt)?;
        }
        if let Some(Progress { percent, note }) = self.progress {
            work.serialize_entry("progress", percent)?;
            if !note.is_empty() {
                work.serialize_entry("note", note)?;
            }
        }
        if self.duplicate {
            work.serialize_entry("duplicate", &true)?;
        }
        work.end()
    }
}

/// The JSON of a work, as far as it is read.
#[derive(Deserialize)]
struct Fields {
    id: WorkId,
    work_code: WorkCode,
    add_up_to: Option<AddUpTo>,
    #[serde(default)]
    kind: KindName,
    args: Option<Json>,
    created_on: i64,
    updated_on: i64,
    status: Status,
    #[serde(default, deserialize_with = "json_of_any")]
    result: Option<Json>,
    version: i64,
    run_at: Option<i64>,
    unique: Option<Unique>,
    error: Option<String>,
    attempt: Option<i32>,
    progress: Option<u8>,
    note: Option<String>,
}

/// Reads `null` as JSON too, which is a result like any other.
fn json_of_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl From<Fields> for Work {
    fn from(fields: Fields) -> Self {
        let null = || Json::accepted("null");
        Self {
            id: fields.id,
            work_code: fields.work_code,
            kind: fields.kind,
            args: (fields.args.or(fields.add_up_to.map(AddUpTo::args))).unwrap_or_else(null),
            created_on: fields.created_on,
            updated_on: fields.updated_on,
            result: fields.result.filter(|_| fields.status == Status::Done),
            status: fields.status,
            version: fields.version,
            run_at: fields.run_at,
            unique: fields.unique,
            error: fields.error,
            attempt: fields.attempt.unwrap_or(1),
            progress: fields.progress.map(|percent| Progress {
                percent,
                note: fields.note.unwrap_or_default(),
            }),
        }
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
            kind: KindName::default(),
            args: "4".parse::<AddUpTo>().unwrap().args(),
            created_on: 1_634_115_736,
            updated_on: 1_634_115_736,
            status: Status::Pending,
            result: None,
            version: 1,
            run_at: None,
            unique: None,
            error: None,
            attempt: 1,
            progress: None,
        };
        let json = serde_json::to_string(&work).unwrap();
        assert_eq!(
            json,
            r#"{"id":21,"work_code":"api-bjq8euwsEA","add_up_to":4,"done":false,"created_on":1634115736,"updated_on":1634115736,"status":"pending","result":null,"version":1,"kind":"add_up_to"}"#
        );
        assert_eq!(serde_json::from_str::<Work>(&json).unwrap(), work);

        let run_at = Some(1_634_116_000);
        let scheduled = Work { run_at, ..work };
        let longer = serde_json::to_string(&scheduled).unwrap();
        assert_eq!(longer, json.replace("\"}", r#"","run_at":1634116000}"#));
        assert_eq!(serde_json::from_str::<Work>(&longer).unwrap(), scheduled);

        let running = Work {
            progress: Some(Progress::new(40, "handing over")),
            ..scheduled.clone()
        };
        let shown = serde_json::to_string(&running).unwrap();
        assert_eq!(shown, longer.replace('}', r#","progress":40,"note":"handing over"}"#));
        assert_eq!(serde_json::from_str::<Work>(&shown).unwrap(), running);

        let mail = Work {
            kind: "user.welcome.email".parse().unwrap(),
            args: Json::accepted(r#"{"to":"a@b", "n":1.10}"#),
            status: Status::Done,
            result: Some(Json::accepted("null")),
            unique: Some("user 7".to_owned().try_into().unwrap()),
            error: Some("no address".to_owned()),
            attempt: 2,
            ..scheduled
        };
        let json = serde_json::to_string(&mail).unwrap();
        assert_eq!(
            json,
            r#"{"id":21,"work_code":"api-bjq8euwsEA","kind":"user.welcome.email","args":{"to":"a@b", "n":1.10},"done":true,"created_on":1634115736,"updated_on":1634115736,"status":"done","result":null,"version":1,"run_at":1634116000,"unique":"user 7","error":"no address","attempt":2}"#
        );
        assert_eq!(serde_json::from_str::<Work>(&json).unwrap(), mail);
        let [new, duplicate] = [false, true].map(|duplicate| {
            let work = mail.clone();
            serde_json::to_string(&CreatedWork { work, duplicate }).unwrap()
        });
        assert_eq!(new, json);
        assert_eq!(
            duplicate,
            json.replace("\"attempt\":2}", r#""attempt":2,"duplicate":true}"#)
        );
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
