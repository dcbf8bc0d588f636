//! `/live`: a page that follows the counters, with style, script and icon. All of it is embedded in the program.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use pp_http::NoQuery;

/// The page loads no foreign or inline code and cannot be framed.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

pub(super) async fn page(_: NoQuery) -> HttpResponse {
    embedded("text/html; charset=utf-8", include_str!("../dashboard/live.html"))
}

pub(super) async fn style(_: NoQuery) -> HttpResponse {
    embedded("text/css; charset=utf-8", include_str!("../dashboard/live.css"))
}

pub(super) async fn script(_: NoQuery) -> HttpResponse {
    embedded("text/javascript; charset=utf-8", include_str!("../dashboard/live.js"))
}

pub(super) async fn icon(_: NoQuery) -> HttpResponse {
    embedded("image/svg+xml", include_str!("../dashboard/live.svg"))
}

/// A file of a page.
pub(super) fn embedded(content_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .body(text)
}
