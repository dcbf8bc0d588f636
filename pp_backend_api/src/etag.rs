//! The version of a work as its `ETag`, and the answer to those who have it already.

use actix_web::http::header::{ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use pp_lib::domain::Work;

/// A work with its `ETag`; 304 without it where the client has this version.
pub(crate) fn work_response(request: &HttpRequest, work: &Work) -> HttpResponse {
    let tag = tag(work);
    let known = request.headers().get_all(IF_NONE_MATCH);
    let mut known = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if known.any(|known| matches(known.trim(), &tag)) {
        HttpResponse::NotModified().insert_header((ETAG, tag)).finish()
    } else {
        HttpResponse::Ok().insert_header((ETAG, tag)).json(work)
    }
}

/// The tag of a work.
pub(crate) fn tag(work: &Work) -> String {
    format!("\"{}\"", work.version)
}

/// Weak comparison, as `If-None-Match` asks for.
fn matches(known: &str, tag: &str) -> bool {
    known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
}
