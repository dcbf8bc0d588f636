//! Notices: the works of a built-in kind that tell a URL of a finished work. The database makes them in the transaction
//! that finishes the work; see the migration `push`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

use crate::domain::{Json, KindName, WebUrl};
use crate::kinds::{Backoff, Declaration, Delivery, Policy};

/// The arguments of a notice.
#[derive(Deserialize)]
pub(super) struct Notice<'a> {
    pub(super) url: WebUrl,
    #[serde(borrow)]
    r#type: &'a RawValue,
    #[serde(borrow)]
    timestamp: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What is sent: the arguments without the URL.
#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'a RawValue,
    timestamp: &'a RawValue,
    data: &'a RawValue,
}

/// The finished work, as far as its notice needs it.
#[derive(Deserialize)]
struct Finished {
    kind: KindName,
}

impl<'a> Notice<'a> {
    pub(super) fn read(args: &'a Json) -> Result<Self, serde_json::Error> {
        serde_json::from_str(args.as_str())
    }

    /// The body of the request.
    pub(super) fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Payload {
            r#type: self.r#type,
            timestamp: self.timestamp,
            data: self.data,
        })
    }

    /// The kind of the finished work.
    pub(super) fn kind(&self) -> Result<KindName, serde_json::Error> {
        serde_json::from_str::<Finished>(self.data.get()).map(|finished| finished.kind)
    }
}

/// What the consumers declare of the kind of notices. They are tried for about two days.
pub fn notice_declaration() -> Declaration {
    Declaration {
        delivery: Delivery::Push,
        ..Declaration::of_policy(Policy {
            max_attempts: 16,
            backoff: Backoff {
                base: Duration::from_secs(5),
                factor: 3.0,
                cap: Duration::from_secs(6 * 3600),
                jitter: 0.2,
            },
            timeout: Duration::from_secs(20),
            ..Policy::DEFAULT
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_sent_without_its_url_and_otherwise_unchanged() {
        let args = Json::accepted(
            r#"{"url":"https://a.example/b","type":"work.done","timestamp":"2026-11-28T10:00:00.5Z","data":{"id":7,"kind":"resize","args":{"a": 1.10},"result":1e400}}"#,
        );
        let notice = Notice::read(&args).unwrap();
        assert_eq!(notice.url.as_str(), "https://a.example/b");
        assert_eq!(notice.kind().unwrap().as_str(), "resize");
        assert_eq!(
            String::from_utf8(notice.body().unwrap()).unwrap(),
            r#"{"type":"work.done","timestamp":"2026-11-28T10:00:00.5Z","data":{"id":7,"kind":"resize","args":{"a": 1.10},"result":1e400}}"#
        );
    }
}
