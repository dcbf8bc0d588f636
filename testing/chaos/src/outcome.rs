//! What an answer means to a client under faults.

use pp_testkit::client::Sent;
use serde_json::Value;

/// What became of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// 200 or 202 with its JSON, or 204 with `null`.
    Good(Value),
    /// 404.
    Missing,
    /// 503 or 409: not now.
    Later,
    /// None: the connection broke, or it took too long. It may have taken effect.
    Lost,
    /// Something that a good server does not say to a good client.
    Odd(String),
}

impl Outcome {
    pub(crate) fn of(sent: Sent) -> Self {
        let Ok(answer) = sent else { return Self::Lost };
        match answer.status {
            204 => Self::Good(Value::Null),
            404 => Self::Missing,
            200 | 202 => match serde_json::from_str(&answer.body) {
                Ok(json) => Self::Good(json),
                Err(_) => Self::Odd(format!("{} without JSON: {}", answer.status, answer.body)),
            },
            409 | 503 => Self::Later,
            other => Self::Odd(format!("{other}: {}", answer.body)),
        }
    }

    /// The outcome of a change that the status of its work may rule out: 409 is `null` then.
    pub(crate) fn of_change(sent: Sent) -> Self {
        match sent {
            Ok(answer) if answer.status == 409 => Self::Good(Value::Null),
            sent => Self::of(sent),
        }
    }
}
