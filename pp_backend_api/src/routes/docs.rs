//! `/docs`: a page that shows `/openapi.json`, with its style and script. All of it is embedded in the program.

use actix_web::HttpResponse;
use pp_http::NoQuery;

use super::live::embedded;

pub(super) async fn page(_: NoQuery) -> HttpResponse {
    embedded("text/html; charset=utf-8", include_str!("../reference/docs.html"))
}

pub(super) async fn style(_: NoQuery) -> HttpResponse {
    embedded("text/css; charset=utf-8", include_str!("../reference/docs.css"))
}

pub(super) async fn script(_: NoQuery) -> HttpResponse {
    embedded("text/javascript; charset=utf-8", include_str!("../reference/docs.js"))
}
