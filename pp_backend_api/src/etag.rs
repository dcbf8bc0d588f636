//! A work's version as its `ETag`, and the preconditions of reads and changes.

use actix_web::http::header::{CACHE_CONTROL, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use pp_http::Budget;
use pp_lib::domain::Work;
use pp_lib::serving::Source;
use serde::Serialize;

use crate::answer;
use crate::error::ApiError;

const CACHE_STATUS: &str = "cache-status";

/// Answers with a work, its `ETag` and its source, or with 304 if the client has this version.
pub(crate) fn work_response(
    budget: &Budget,
    request: &HttpRequest,
    work: &Work,
    source: Source,
) -> Result<HttpResponse, ApiError> {
    versioned(budget, request, work, tag(work), source)
}

/// Answers with a tagged representation. Clients may keep it but must revalidate it, because it can change at any time.
pub(crate) fn versioned(
    budget: &Budget,
    request: &HttpRequest,
    body: &impl Serialize,
    tag: String,
    source: Source,
) -> Result<HttpResponse, ApiError> {
    let is_known = is_known(request, &tag)?;
    let mut response = match is_known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CACHE_STATUS, cache_status(source)));
    match is_known {
        true => Ok(response.finish()),
        false => answer::send_json(budget, response, body),
    }
}

/// True if the client has the representation with this tag. The error is 412, if it wants another one.
pub(crate) fn is_known(request: &HttpRequest, tag: &str) -> Result<bool, ApiError> {
    if let Some(wanted) = Tags::of(request, IF_MATCH)?
        && !wanted.any(Tag::is_strong, tag)
    {
        return Err(ApiError::precondition_failed());
    }
    // An unreadable list names no tag.
    let known = Tags::of(request, IF_NONE_MATCH).ok().flatten();
    Ok(known.is_some_and(|known| known.any(Tag::is_any, tag)))
}

/// The source in the terms of RFC 9211.
fn cache_status(source: Source) -> &'static str {
    match source {
        Source::Near => "pp; hit; detail=near",
        Source::Cache => "pp; hit",
        Source::Store {
            stored: true,
            collapsed: false,
        } => "pp; fwd=uri-miss; stored",
        Source::Store { collapsed: true, .. } => "pp; fwd=uri-miss; collapsed",
        Source::Store { .. } => "pp; fwd=uri-miss",
        Source::NotFresh => "pp; fwd=stale",
        Source::Bypass => "pp; fwd=bypass",
        Source::Stale => "pp; hit; ttl=-1; detail=\"the database is unavailable\"",
    }
}

/// The tag of a demand. It precedes every version of a work.
pub(crate) const DEMAND_TAG: &str = "\"0\"";

pub(crate) fn tag(work: &Work) -> String {
    format!("\"{}\"", work.version)
}

/// The tags that `If-Match` or `If-None-Match` names (RFC 9110, section 13.1).
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// Any existing representation.
    Any,
    /// These tags, in the order of the header.
    These(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    text: Vec<u8>,
}

impl Tag {
    /// Strong comparison never matches a weak tag. Weak comparison ignores the difference.
    fn is_strong(&self) -> bool {
        !self.weak
    }

    fn is_any(&self) -> bool {
        true
    }

    /// The version of a tag that [`tag`] wrote; `None` for all other tags.
    fn version(&self) -> Option<i64> {
        let text = str::from_utf8(&self.text).ok()?;
        text.parse::<i64>().ok().filter(|version| version.to_string() == text)
    }
}

impl Tags {
    /// The tags of a request. Several headers are one list.
    fn of(request: &HttpRequest, name: HeaderName) -> Result<Option<Self>, ApiError> {
        let mut values = request.headers().get_all(&name).peekable();
        if values.peek().is_none() {
            return Ok(None);
        }
        let lists: Vec<&[u8]> = values.map(|value| value.as_bytes()).collect();
        let wrong = || {
            let name = if name == IF_MATCH { "If-Match" } else { "If-None-Match" };
            ApiError::bad_request(format!(r#"{name} must be * or tags in quotes, as in {name}: "1""#))
        };
        Self::parse(&lists.join(&b',')).map(Some).ok_or_else(wrong)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut rest = text.trim_ascii();
        if rest == b"*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        while !rest.is_empty() {
            // Empty elements of a list are ignored.
            if let Some(after) = rest.strip_prefix(b",") {
                rest = after.trim_ascii_start();
                continue;
            }
            let (tag, after) = first_tag(rest)?;
            tags.push(tag);
            rest = after.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b",") {
                return None;
            }
        }
        (!tags.is_empty()).then_some(Self::These(tags))
    }

    /// True if one of the tags that count equals this strong tag.
    fn any(&self, counts: fn(&Tag) -> bool, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|named| {
                let inside = tag
                    .as_bytes()
                    .strip_prefix(b"\"")
                    .and_then(|tag| tag.strip_suffix(b"\""));
                counts(named) && inside == Some(&named.text)
            }),
        }
    }

    /// The versions of the tags that count.
    fn versions(&self, counts: fn(&Tag) -> bool) -> Option<Vec<i64>> {
        match self {
            Self::Any => None,
            Self::These(tags) => Some(tags.iter().filter(|tag| counts(tag)).filter_map(Tag::version).collect()),
        }
    }
}

/// The tag at the start of a text, and the rest.
fn first_tag(text: &[u8]) -> Option<(Tag, &[u8])> {
    let after_weak = text.strip_prefix(b"W/");
    let opened = after_weak.unwrap_or(text).strip_prefix(b"\"")?;
    let end = opened.iter().position(|byte| *byte == b'"')?;
    let (text, after) = (&opened[..end], &opened[end + 1..]);
    let well_formed = text.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..));
    let (weak, text) = (after_weak.is_some(), text.to_vec());
    well_formed.then_some((Tag { weak, text }, after))
}

/// The versions at which a work may be changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Preconditions {
    /// If set, only these versions may change. Weak and foreign tags are valid but match nothing.
    only: Option<Vec<i64>>,
    /// These versions may not change; `None` if no existing work may change.
    except: Option<Vec<i64>>,
}

impl Preconditions {
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let only = Tags::of(request, IF_MATCH)?.and_then(|tags| tags.versions(Tag::is_strong));
        let except = match Tags::of(request, IF_NONE_MATCH)? {
            None => Some(Vec::new()),
            Some(tags) => tags.versions(Tag::is_any),
        };
        Ok(Self { only, except })
    }

    /// The only allowed version, or `Some(None)` for any. `None` means that the work's current version decides.
    pub(crate) fn version(&self) -> Option<Option<i64>> {
        let except = self.except.as_ref()?;
        match self.only.as_deref() {
            _ if !except.is_empty() => None,
            None => Some(None),
            Some([version]) => Some(Some(*version)),
            Some(_) => None,
        }
    }

    /// Checks that a work at this version may be changed.
    pub(crate) fn check(&self, version: i64) -> Result<(), ApiError> {
        let wanted = self.only.as_ref().is_none_or(|only| only.contains(&version));
        let excepted = self.except.as_ref().is_none_or(|except| except.contains(&version));
        (wanted && !excepted)
            .then_some(())
            .ok_or_else(ApiError::precondition_failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_stands_for_the_version_it_was_made_from() {
        for (text, strong, all) in [
            (r#""1""#, &[1][..], &[1][..]),
            (r#" "1", "22" ,"3""#, &[1, 22, 3], &[1, 22, 3]),
            (r#","1",,"#, &[1], &[1]),
            (r#"W/"1""#, &[], &[1]),
            (r#"W/"1", "2""#, &[2], &[1, 2]),
            (r#""01", "+1", "a,b", "", "99999999999999999999""#, &[], &[]),
        ] {
            let tags = Tags::parse(text.as_bytes()).unwrap();
            assert_eq!(tags.versions(Tag::is_strong).unwrap(), strong, "{text}");
            assert_eq!(tags.versions(Tag::is_any).unwrap(), all, "{text}");
        }
        assert_eq!(Tags::parse(b" * "), Some(Tags::Any));
    }

    #[test]
    fn a_weak_tag_matches_only_for_reads() {
        let tags = Tags::parse(br#"W/"1", "2""#).unwrap();
        assert!(tags.any(Tag::is_any, "\"1\"") && !tags.any(Tag::is_strong, "\"1\""));
        assert!(tags.any(Tag::is_any, "\"2\"") && tags.any(Tag::is_strong, "\"2\""));
        assert!(!tags.any(Tag::is_any, "\"3\""));
    }

    #[test]
    fn an_invalid_list_of_tags_is_refused() {
        for text in [
            "",
            ",",
            "1",
            r#""1"#,
            r#"1""#,
            r#"w/"1""#,
            r#""1" "2""#,
            r#"*, "1""#,
            r#""a b""#,
        ] {
            assert_eq!(Tags::parse(text.as_bytes()), None, "{text}");
        }
    }
}
