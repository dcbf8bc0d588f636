//! The one shape of every error that leaves the API: problem details, RFC 9457.

use serde::{Deserialize, Serialize};

/// An `application/problem+json` body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status' standard phrase.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The error in this request, in words for its sender.
    pub detail: String,
    /// The single faults of the request's values, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// A value of a request that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the value; empty for the whole.
    pub pointer: String,
    /// What it must be, in words for its sender.
    pub detail: String,
}

impl Problem {
    /// The media type of these bodies.
    pub const CONTENT_TYPE: &str = "application/problem+json";

    /// A problem of a status.
    pub fn new(status: u16, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }
}
