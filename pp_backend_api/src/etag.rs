//! The version of a work as its `ETag`, what is answered to those who have it already, and to those who want to change
//! nothing else.

use actix_web::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use pp_lib::domain::Work;
use pp_lib::flow::Source;
use serde::Serialize;

use crate::error::ApiError;

const CACHE_STATUS: &str = "cache-status";

/// A work with its `ETag`, and where it came from; 304 without it where the client has this version.
pub(crate) fn work_response(request: &HttpRequest, work: &Work, source: Source) -> HttpResponse {
    versioned(request, work, tag(work), source)
}

/// Something with a tag of its own.
pub(crate) fn versioned(request: &HttpRequest, body: &impl Serialize, tag: String, source: Source) -> HttpResponse {
    let status = (CACHE_STATUS, cache_status(source));
    let known = request.headers().get_all(IF_NONE_MATCH);
    let mut known = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if known.any(|known| matches(known.trim(), &tag)) {
        HttpResponse::NotModified()
            .insert_header((ETAG, tag))
            .insert_header(status)
            .finish()
    } else {
        HttpResponse::Ok()
            .insert_header((ETAG, tag))
            .insert_header(status)
            .json(body)
    }
}

/// In the words of RFC 9211.
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

/// The tag of a demand: that of a version before every version of a work.
pub(crate) const DEMAND_TAG: &str = "\"0\"";

/// The tag of a work.
pub(crate) fn tag(work: &Work) -> String {
    format!("\"{}\"", work.version)
}

/// Weak comparison, as `If-None-Match` asks for.
fn matches(known: &str, tag: &str) -> bool {
    known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
}

/// At which versions a work may be changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// At any.
    Any,
    /// At these. Weak tags, and tags that no work has, are well-formed but match nothing.
    Versions(Vec<i64>),
}

impl IfMatch {
    /// What a request says.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let mut values = request.headers().get_all(IF_MATCH).peekable();
        if values.peek().is_none() {
            return Ok(Self::Any);
        }
        // Several headers are one list.
        let lists: Vec<&[u8]> = values.map(|value| value.as_bytes()).collect();
        Self::parse(&lists.join(&b','))
            .ok_or_else(|| ApiError::bad_request(r#"If-Match must be * or tags in quotes, as in If-Match: "1""#))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut rest = text.trim_ascii();
        if rest == b"*" {
            return Some(Self::Any);
        }
        let (mut versions, mut tags) = (Vec::new(), 0);
        while !rest.is_empty() {
            // An empty place in a list means nothing.
            if let Some(after) = rest.strip_prefix(b",") {
                rest = after.trim_ascii_start();
                continue;
            }
            let (tag, after) = first_tag(rest)?;
            tags += 1;
            versions.extend(tag.and_then(version));
            rest = after.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b",") {
                return None;
            }
        }
        (tags > 0).then_some(Self::Versions(versions))
    }
}

/// The tag that a text begins with, `None` for a weak one, and what follows.
fn first_tag(text: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let weak = text.strip_prefix(b"W/");
    let opened = weak.unwrap_or(text).strip_prefix(b"\"")?;
    let end = opened.iter().position(|byte| *byte == b'"')?;
    let (tag, after) = (&opened[..end], &opened[end + 1..]);
    let well_formed = tag.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..));
    well_formed.then_some((weak.is_none().then_some(tag), after))
}

/// The version that a tag stands for: written as [`tag`] writes it, or it is none of ours.
fn version(tag: &[u8]) -> Option<i64> {
    let text = str::from_utf8(tag).ok()?;
    text.parse::<i64>().ok().filter(|version| version.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_strong_tags_as_they_were_given_out() {
        for (text, versions) in [
            (r#""1""#, &[1][..]),
            (r#" "1", "22" ,"3""#, &[1, 22, 3]),
            (r#","1",,"#, &[1]),
            (r#"W/"1""#, &[]),
            (r#"W/"1", "2""#, &[2]),
            (r#""01", "+1", "a,b", "", "99999999999999999999""#, &[]),
        ] {
            let parsed = IfMatch::parse(text.as_bytes());
            assert_eq!(parsed, Some(IfMatch::Versions(versions.to_vec())), "{text}");
        }
        assert_eq!(IfMatch::parse(b" * "), Some(IfMatch::Any));
    }

    #[test]
    fn what_is_no_list_of_tags_is_none() {
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
            assert_eq!(IfMatch::parse(text.as_bytes()), None, "{text}");
        }
    }
}
