//! Dead letters as an operator sees them: works after their last attempt, and unreadable messages.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KindName, WorkCode, WorkId};

/// The number of a dead letter, given by the store, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeadLetterId(pub i64);

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing that was given up, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct DeadLetter {
    /// Its number.
    pub id: DeadLetterId,
    /// The work that failed; null for a message that never became one.
    pub work_id: Option<WorkId>,
    /// The work's code.
    pub work_code: Option<WorkCode>,
    /// The identity of the demand.
    pub message_id: Option<String>,
    /// The beginning of the message's body, at most 1,024 bytes of it; what is no UTF-8 is replaced.
    pub body: Option<String>,
    /// Length of the whole body, in bytes.
    pub body_bytes: Option<i64>,
    /// The reason.
    pub reason: String,
    /// Attempts that were made; 0 for an unreadable message.
    pub attempts: i32,
    /// Unix second at which the work was created; null for a message.
    pub demanded_on: Option<i64>,
    /// Unix second of the letter, by the database's clock.
    pub created_on: i64,
    /// True while it is on its way back to the queue.
    pub redriven: bool,
    /// The kind of work.
    #[serde(default)]
    pub kind: KindName,
}

impl DeadLetter {
    /// Bytes of a body that are shown.
    pub const SHOWN_BYTES: usize = 1024;
}

/// The dead letters of one kind whose reasons begin with the same text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LetterGroup {
    /// The kind.
    pub kind: KindName,
    /// The first [`Self::ERROR_CHARACTERS`] characters of their reasons.
    pub error: String,
    /// Their number.
    pub letters: i64,
    /// How many of them are messages that never became works.
    pub messages: i64,
    /// The Unix second of the oldest.
    pub oldest_on: i64,
    /// The Unix second of the newest.
    pub newest_on: i64,
}

impl LetterGroup {
    /// The number of characters by which reasons are compared.
    pub const ERROR_CHARACTERS: usize = 200;

    /// The number of letters, the newest, that are grouped.
    pub const MOST_LETTERS: i64 = 100_000;
}
