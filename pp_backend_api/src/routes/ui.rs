//! The dashboard: `/` for browsers, and its files below `/ui`. All of them are embedded in the program.

use std::fmt::Write as _;

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION, REFERRER_POLICY,
};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use rust_embed::RustEmbed;

use crate::Api;
use crate::error::ApiError;
use crate::etag::is_known;
use crate::openapi::{Operation, Tag};

/// The page loads no foreign or inline code and cannot be framed.
pub(super) const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// The page itself, among the files.
const PAGE: &str = "index.html";

/// The files. A debug build reads them from the source tree, so that the page can be changed while the program runs.
#[derive(RustEmbed)]
#[folder = "src/dashboard/"]
struct Files;

/// True if the client asks for a page rather than for JSON.
pub(super) fn is_wanted(request: &HttpRequest) -> bool {
    let accept = request.headers().get_all(ACCEPT);
    let ranges = accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    ranges
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/html"))
}

/// The page.
pub(super) fn page(request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    answer(request, PAGE)
}

/// One of its files.
pub(super) async fn file(request: HttpRequest, name: web::Path<String>, _: NoQuery) -> Result<HttpResponse, ApiError> {
    answer(&request, &name)
}

/// The page that the dashboard replaces.
pub(super) async fn old_page(api: web::Data<Api>, _: NoQuery) -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, format!("{}/", api.config.prefix)))
        .finish()
}

fn answer(request: &HttpRequest, name: &str) -> Result<HttpResponse, ApiError> {
    let found = Files::get(name).zip(content_type(name));
    let (file, content_type) = found.ok_or_else(|| ApiError::not_found("the dashboard has no such file"))?;
    let tag = tag(&file.metadata.sha256_hash());
    let is_known = is_known(request, &tag)?;
    let mut response = match is_known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "no-cache"));
    if is_known {
        return Ok(response.finish());
    }
    response
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    Ok(response.body(file.data))
}

/// The first half of a hash: files that differ differ there.
fn tag(hash: &[u8; 32]) -> String {
    let mut tag = String::from("\"");
    for byte in &hash[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}

/// The type of a file, by the end of its name. Files of other types are not served.
fn content_type(name: &str) -> Option<&'static str> {
    let (_, end) = name.rsplit_once('.')?;
    match end {
        "html" => Some("text/html; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        "txt" => Some("text/plain; charset=utf-8"),
        _ => None,
    }
}

/// Describes `GET /live`.
pub(super) fn old_page_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_live", Tag::Pages)
        .empty(308, "The address of the dashboard.")
        .header("Location")
}

/// Describes `GET /ui/{file}`.
pub(super) fn file_operation(operation: Operation<'_>) -> Operation<'_> {
    let others = ["text/css", "text/javascript", "image/svg+xml"];
    let page = operation.page("get_ui_file", "text/html");
    others
        .into_iter()
        .fold(page, Operation::or_file)
        .header("ETag")
        .missing()
}
