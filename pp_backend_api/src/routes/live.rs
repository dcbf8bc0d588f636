//! `/live`: a page that follows the counters, with its style, its script and its icon. All of it is in the program.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

/// Nothing from elsewhere, nothing inline, and in nobody's frame.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

pub(super) async fn page() -> HttpResponse {
    embedded("text/html; charset=utf-8", include_str!("../dashboard/live.html"))
}

pub(super) async fn style() -> HttpResponse {
    embedded("text/css; charset=utf-8", include_str!("../dashboard/live.css"))
}

pub(super) async fn script() -> HttpResponse {
    embedded("text/javascript; charset=utf-8", include_str!("../dashboard/live.js"))
}

pub(super) async fn icon() -> HttpResponse {
    embedded("image/svg+xml", include_str!("../dashboard/live.svg"))
}

fn embedded(content_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, content_type))
        // The next version of the program may have others.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(text)
}
