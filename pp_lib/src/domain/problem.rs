//! The one shape of every error that leaves the API: problem details, RFC 9457.

use serde::{Deserialize, Serialize};

/// An `application/problem+json` body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status' standard phrase.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The cause for programs, such as `other_version`. Words may change, codes do not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The error in this request, in words for its sender.
    pub detail: String,
    /// What came between, where a change came too late.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The single faults of the request's values, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// A value of a request that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the value; empty for the whole.
    pub pointer: String,
    /// What it must be, in words for its sender.
    pub detail: String,
}

impl Problem {
    /// The media type of these bodies.
    pub const CONTENT_TYPE: &str = "application/problem+json";

    /// A problem of a status, with the status' own code.
    pub fn new(status: u16, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            code: Self::code_of(status).to_owned(),
            detail: detail.into(),
            why: String::new(),
            errors: Vec::new(),
        }
    }

    /// The same problem with a code of its own, if there is one.
    #[must_use]
    pub fn with_code(mut self, code: Option<&str>) -> Self {
        if let Some(code) = code {
            code.clone_into(&mut self.code);
        }
        self
    }

    /// The code of problems that have none of their own.
    pub fn code_of(status: u16) -> &'static str {
        match status {
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not_found",
            405 => "method_not_allowed",
            408 => "request_too_slow",
            409 => "conflict",
            412 => "other_version",
            413 => "body_too_large",
            414 => "target_too_long",
            415 => "unsupported_media_type",
            421 => "unknown_host",
            422 => "unprocessable",
            429 => "too_many_requests",
            431 => "head_too_large",
            503 => "unavailable",
            500.. => "internal",
            _ => "invalid_request",
        }
    }
}
