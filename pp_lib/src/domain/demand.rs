//! A demand for work: the body of its message, and the identity that travels beside it.
//!
//! The body of a message is the arguments of its kind. How identity is put into message properties is the broker
//! adapter's.

use std::fmt;

use super::{AddUpTo, Json, KindName, Run, WorkCode};

/// The idempotency key of a demand: a text of 1 to 255 bytes, as AMQP's `message_id` can carry.
///
/// Every text is an id, but for NUL, which PostgreSQL keeps in no text: it becomes the control character SUBSTITUTE, so
/// two ids that differ in nothing but these two are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(String);

/// A text that is no message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageIdError;

impl MessageId {
    /// The longest id, in bytes.
    pub const MAX_LENGTH: usize = 255;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MessageId {
    type Error = MessageIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const SUBSTITUTE: &str = "\u{1a}";
        if text.is_empty() || text.len() > Self::MAX_LENGTH {
            return Err(MessageIdError);
        }
        match text.contains('\0') {
            true => Ok(Self(text.replace('\0', SUBSTITUTE))),
            false => Ok(Self(text)),
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MessageIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message id is a text of 1 to {} bytes", MessageId::MAX_LENGTH)
    }
}

impl std::error::Error for MessageIdError {}

/// The body of the message that asks for a work with these arguments.
pub fn body_of_args(kind: &KindName, args: &Json) -> Vec<u8> {
    match AddUpTo::of_args(args) {
        Ok(bound) if kind.is_add_up_to() => bound.body(),
        _ => args.as_str().into(),
    }
}

/// The arguments in the body of a message, of at most `limit` bytes.
///
/// # Errors
/// The body asks for no work of this kind.
pub fn args_of_body(kind: &KindName, body: &[u8], limit: usize) -> Result<Json, InvalidDemand> {
    match kind.is_add_up_to() {
        true => AddUpTo::of_body(body).map(AddUpTo::args),
        false => Json::parse(body, limit).map_err(|error| InvalidDemand::Malformed(error.to_string())),
    }
}

/// The state of a row at the moment its demand was sent; a row that has moved on since needs nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandedRow {
    /// The row's code.
    pub work_code: WorkCode,
    /// The run that it waits for.
    pub run: Run,
    /// Earlier attempts that failed.
    pub failures: i32,
    /// Earlier attempts that lost their worker. Attempts that a stopping worker handed back count as neither.
    pub lost_leases: i32,
}

/// The reason a message cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidDemand {
    /// The body is not the JSON of a demand; the parser's words.
    Malformed(String),
    /// The body says `done: true`.
    AlreadyDone,
    /// The message id or a header has a form that no producer of PP gives it; which one.
    BadProperty(&'static str),
}

impl fmt::Display for InvalidDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "malformed demand: {why}"),
            Self::AlreadyDone => f.write_str("the demand says that it is done already"),
            Self::BadProperty(name) => write!(f, "malformed message property {name}"),
        }
    }
}

impl std::error::Error for InvalidDemand {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_are_texts_of_1_to_255_bytes() {
        let id = |text: &str| MessageId::try_from(text.to_owned()).map(|id| id.to_string());
        for good in [
            &"a".repeat(255),
            "Auftrag Größe 7",
            "注文-7",
            "a\nb\t\u{1b}[31m",
            " ",
            "🧾",
        ] {
            assert_eq!(id(good).as_deref(), Ok(good));
        }
        assert_eq!(id("a\0b\0").as_deref(), Ok("a\u{1a}b\u{1a}"));
        for bad in ["", &"a".repeat(256), &"é".repeat(128)] {
            assert_eq!(id(bad), Err(MessageIdError));
        }
    }
}
