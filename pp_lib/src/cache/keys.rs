//! The names of keys and the text form of values in a cache outside the process.
//!
//! A value begins with the part that comparisons need. `3 {…}` is a work at version 3, `~3 {…}` is the same until the
//! refresher confirms it, `?77` is a lease, `0 ` an unknown work and `x` a deleted one. For a code, `i21` is the id of
//! its work, and `p{…}` is a demand. A new form needs a new number in the keys.

use serde::{Deserialize, Serialize};

use super::{ByCode, Entry, EntryOrLease, Lease, Provisional};
use crate::domain::{Json, KindName, Unique, Work, WorkCode, WorkId};

/// The keys of one deployment.
#[derive(Clone, Debug)]
pub(super) struct Keys(String);

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    pub(super) fn work(&self, id: WorkId) -> String {
        format!("{}:work:v2:{id}", self.0)
    }

    pub(super) fn code(&self, code: &WorkCode) -> String {
        format!("{}:code:v3:{code}", self.0)
    }

    /// The accepted demands by the time they were listed.
    pub(super) fn accepted(&self) -> String {
        format!("{}:accepted:v2", self.0)
    }

    pub(super) fn position(&self) -> String {
        format!("{}:feed:v2:position", self.0)
    }

    pub(super) fn fresh(&self) -> String {
        format!("{}:feed:v1:fresh", self.0)
    }

    /// The name of the cache. Clearing keeps it.
    pub(super) fn name(&self) -> String {
        format!("{}:cache:v1:name", self.0)
    }

    /// The patterns that match all entries of this deployment and no others.
    pub(super) fn patterns(&self) -> [String; 2] {
        let mut literal = String::new();
        for character in self.0.chars() {
            if r"*?[]\".contains(character) {
                literal.push('\\');
            }
            literal.push(character);
        }
        [format!("{literal}:work:v2:*"), format!("{literal}:code:v3:*")]
    }
}

pub(super) fn lease_text(lease: Lease) -> String {
    format!("?{}", lease.0)
}

pub(super) fn entry_text(entry: &Entry) -> Result<String, serde_json::Error> {
    Ok(match entry {
        Entry::Work(work) => format!("{} {}", work.version, serde_json::to_string(work)?),
        Entry::Unknown => "0 ".to_owned(),
        Entry::Deleted => "x".to_owned(),
    })
}

/// The meaning of a work's value for the reader that left this lease; `None` for a foreign value.
pub(super) fn found(id: WorkId, lease: Lease, value: &[u8]) -> Option<EntryOrLease> {
    let text = std::str::from_utf8(value).ok()?;
    Some(match text {
        "x" => EntryOrLease::Entry(Entry::Deleted),
        "0 " => EntryOrLease::Entry(Entry::Unknown),
        _ if text == lease_text(lease) => EntryOrLease::Missing(lease),
        _ if text.starts_with('?') => EntryOrLease::Nothing,
        _ => {
            let (_, json) = text.split_once(' ')?;
            let work: Work = serde_json::from_str(json).ok()?;
            (work.id == id).then_some(EntryOrLease::Entry(Entry::Work(work)))?
        }
    })
}

pub(super) fn code_text(known: &ByCode) -> String {
    match known {
        ByCode::Id(id) => format!("i{id}"),
        ByCode::Provisional(demand) => {
            let json = serde_json::to_string(&DemandText {
                message_id: demand.message_id.as_str().to_owned(),
                kind: demand.kind.clone(),
                args: demand.args.clone(),
                unique: demand.unique.clone(),
                created_on: demand.created_on,
            });
            // Serialization cannot fail: all keys are texts.
            format!("p{}", json.unwrap_or_default())
        }
    }
}

/// A demand in its text form.
#[derive(Deserialize, Serialize)]
struct DemandText {
    message_id: String,
    kind: KindName,
    args: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<Unique>,
    created_on: i64,
}

/// The meaning of a code's value; `None` for a foreign value.
pub(super) fn by_code(code: &WorkCode, value: &[u8]) -> Option<ByCode> {
    let text = std::str::from_utf8(value).ok()?;
    if let Some(id) = text.strip_prefix('i') {
        return id.parse().ok().map(|id| ByCode::Id(WorkId(id)));
    }
    let demand: DemandText = serde_json::from_str(text.strip_prefix('p')?).ok()?;
    Some(ByCode::Provisional(Provisional {
        message_id: demand.message_id.try_into().ok()?,
        work_code: code.clone(),
        kind: demand.kind,
        args: demand.args,
        unique: demand.unique,
        created_on: demand.created_on,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Progress, Status};

    const LEASE: Lease = Lease(77);

    #[test]
    fn an_entry_survives_its_text_form() {
        let work = Work {
            id: WorkId(21),
            work_code: "api-bjq8euwsEA".parse().unwrap(),
            kind: "user.welcome.email".parse().unwrap(),
            args: Json::accepted(r#"{"b":1.10,"a":"é"}"#),
            created_on: 1_634_115_736,
            updated_on: 1_634_115_737,
            status: Status::Done,
            result: Some(Json::accepted("1e400")),
            version: 3,
            run_at: Some(1_634_115_730),
            unique: Some("user 7".to_owned().try_into().unwrap()),
            error: None,
            attempt: 2,
            progress: Some(Progress::new(40, "é")),
        };
        for entry in [Entry::Work(work.clone()), Entry::Unknown, Entry::Deleted] {
            let text = entry_text(&entry).unwrap();
            assert_eq!(
                found(WorkId(21), LEASE, text.as_bytes()),
                Some(EntryOrLease::Entry(entry))
            );
        }
        let text = entry_text(&Entry::Work(work.clone())).unwrap();
        assert!(text.starts_with(r#"3 {"id":21,"#), "{text}");
        let unconfirmed = format!("~{text}");
        assert_eq!(
            found(WorkId(21), LEASE, unconfirmed.as_bytes()),
            Some(EntryOrLease::Entry(Entry::Work(work)))
        );
        assert_eq!(
            found(WorkId(22), LEASE, text.as_bytes()),
            None,
            "a work under another's key"
        );
    }

    #[test]
    fn a_lease_belongs_to_its_owner_only() {
        assert_eq!(lease_text(LEASE), "?77");
        assert_eq!(found(WorkId(1), LEASE, b"?77"), Some(EntryOrLease::Missing(LEASE)));
        assert_eq!(found(WorkId(1), LEASE, b"?78"), Some(EntryOrLease::Nothing));
    }

    #[test]
    fn a_code_survives_its_text_form() {
        let code: WorkCode = "api-bjq8euwsEA".parse().unwrap();
        let provisional = Provisional {
            message_id: "a b".to_owned().try_into().unwrap(),
            work_code: code.clone(),
            kind: KindName::default(),
            args: Json::accepted(r#"{"add_up_to": 1}"#),
            unique: None,
            created_on: -5,
        };
        let joining = Provisional {
            unique: Some("u".to_owned().try_into().unwrap()),
            ..provisional.clone()
        };
        for (known, text) in [
            (ByCode::Id(WorkId(21)), "i21"),
            (
                ByCode::Provisional(joining),
                r#"p{"message_id":"a b","kind":"add_up_to","args":{"add_up_to": 1},"unique":"u","created_on":-5}"#,
            ),
            (
                ByCode::Provisional(provisional),
                r#"p{"message_id":"a b","kind":"add_up_to","args":{"add_up_to": 1},"created_on":-5}"#,
            ),
        ] {
            assert_eq!(code_text(&known), text);
            assert_eq!(by_code(&code, text.as_bytes()), Some(known));
        }
    }

    #[test]
    fn a_foreign_value_has_no_meaning() {
        let code: WorkCode = "api-bjq8euwsEA".parse().unwrap();
        for damaged in [&b""[..], b"\xff", b"3", b"3 ", b"3 {}", b"3 {\"id\":1}", b"y", b"null"] {
            assert_eq!(found(WorkId(1), LEASE, damaged), None, "{damaged:?}");
            assert_eq!(by_code(&code, damaged), None, "{damaged:?}");
        }
        for damaged in ["i", "ix", "p", "p4", "p{}", "p4 1 a"] {
            assert_eq!(by_code(&code, damaged.as_bytes()), None, "{damaged}");
        }
    }

    #[test]
    fn a_prefix_is_literal_in_a_pattern() {
        assert_eq!(Keys::new("pp").patterns(), ["pp:work:v2:*", "pp:code:v3:*"]);
        assert_eq!(Keys::new("a*[b]").patterns()[0], r"a\*\[b\]:work:v2:*");
    }
}
