//! `/docs`: a page that shows `/openapi.json`, with its style and script. All of it is embedded in the program.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use pp_http::NoQuery;

use super::ui::POLICY;

pub(super) async fn page(_: NoQuery) -> HttpResponse {
    embedded("text/html; charset=utf-8", include_str!("../reference/docs.html"))
}

pub(super) async fn style(_: NoQuery) -> HttpResponse {
    embedded("text/css; charset=utf-8", include_str!("../reference/docs.css"))
}

pub(super) async fn script(_: NoQuery) -> HttpResponse {
    embedded("text/javascript; charset=utf-8", include_str!("../reference/docs.js"))
}

fn embedded(content_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .body(text)
}
