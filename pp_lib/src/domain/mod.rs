//! The subject of PP: works, the demands that ask for them, and their events.
//!
//! Parsed types and checked state changes only. No I/O, no clock, no randomness, and no library but serde; schemas are
//! behind the feature `openapi`. What comes in from outside is parsed here once and is right from then on.

mod access;
mod add_up_to;
mod dead_letter;
mod demand;
mod event;
mod json;
mod kind;
mod parts;
mod position;
mod problem;
mod run;
#[cfg(feature = "openapi")]
mod schema;
mod signing_secret;
mod stats;
mod unique;
mod web_url;
mod work;
mod work_code;
mod worker;

pub use access::{
    ApiKeyId, AuditEntry, KeyDigest, KeyInfo, KeyLabel, KeyLabelError, Principal, Scope, Scopes, ScopesError, UserName,
    UserNameError, WorksPerDay, WorksPerDayError,
};
pub use add_up_to::{AddUpTo, AddUpToError};
pub use dead_letter::{DeadLetter, DeadLetterId, LetterGroup};
pub use demand::{DemandedRow, InvalidDemand, MessageId, MessageIdError, args_of_body, body_of_args};
pub use event::{Event, Variable, value_of_args};
pub use json::{Json, JsonError, JsonFault};
pub use kind::{KindName, KindNameError};
pub use parts::{PAGE_BYTES, PART_BYTES, fitting, is_full, parts};
pub use position::{Position, PositionError, Snapshot};
pub use problem::{Fault, Problem};
pub use run::Run;
#[cfg(feature = "openapi")]
pub(crate) use schema::of_work;
pub use signing_secret::{SigningSecret, SigningSecretError};
pub use stats::{ByOrigin, ByStatus, DoneOfKind, KindCounts, Latency, Rates, Seconds, Stats};
pub use unique::{Unique, UniqueError};
pub use web_url::{WebUrl, WebUrlError};
pub(crate) use work::ShownWork;
pub use work::{CreatedWork, Progress, Status, Work, WorkId};
pub use work_code::{Origin, PrefixSelection, WorkCode, WorkCodeError, WorkCodePrefix};
pub use worker::{WorkerName, WorkerNameError};
