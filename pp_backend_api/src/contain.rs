//! Middleware around every request. It turns panics into 500 and errors into problem details, writes a debug line, and
//! applies the rules for every answer: cache control, preconditions of answers without a version, and HTTP/1.0.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use actix_web::http::{Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError as _};
use futures_util::FutureExt as _;
use pp_lib::domain::Problem;
use pp_lib::log_repeated;

use crate::access::Caller;
use crate::error::ApiError;

/// Runs the request and always answers.
pub(crate) async fn contain<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<EitherBody<B>>>, Error> {
    let context = AnswerContext::of(&request);
    let debug_line = log::log_enabled!(log::Level::Debug).then(|| (Instant::now(), line_of(&request)));
    // The handler runs inside the future, so that a panic before its first await is caught too.
    let answer = AssertUnwindSafe(async { next.call(request).await })
        .catch_unwind()
        .await;
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(ApiError::of_status(error.as_response_error().status_code()).into()),
        Err(_) => {
            log_repeated!(Error, "a handler panicked", "");
            return Err(ApiError::internal().into());
        }
    };
    if let Some((started, line)) = debug_line {
        let (status, micros) = (response.status().as_u16(), started.elapsed().as_micros());
        let by = Caller::of(response.request()).principal;
        log::debug!("{line}: {status} to {by} after {micros} µs");
    }
    Ok(with_defaults(
        as_problem(context.of_untagged(response)),
        context.version,
    ))
}

/// The parts of a request that its answer depends on.
struct AnswerContext {
    version: Version,
    /// The status of a failed precondition of RFC 9110 on a resource without versions.
    unmet: Option<StatusCode>,
}

impl AnswerContext {
    fn of(request: &ServiceRequest) -> Self {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let has = |name, any: bool| {
            let mut values = request.headers().get_all(name);
            values.any(|value| (value.as_bytes().trim_ascii() == b"*") == any)
        };
        let unmet = match reads {
            true if has(IF_MATCH, false) => Some(StatusCode::PRECONDITION_FAILED),
            true if has(IF_NONE_MATCH, true) => Some(StatusCode::NOT_MODIFIED),
            _ => None,
        };
        let version = request.version();
        Self { version, unmet }
    }

    /// An answer with a tag was already compared with it.
    fn of_untagged<B>(&self, response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B>> {
        let untagged = response.status() == StatusCode::OK && !response.headers().contains_key(ETAG);
        match self.unmet.filter(|_| untagged) {
            None => response.map_into_left_body(),
            Some(StatusCode::NOT_MODIFIED) => {
                let nothing = HttpResponse::NotModified().finish();
                response.into_response(nothing).map_into_right_body()
            }
            Some(_) => {
                let problem = ApiError::precondition_failed().error_response();
                response.into_response(problem).map_into_right_body()
            }
        }
    }
}

/// Forbids caching unless the answer allows it. HTTP/1.0 knows no chunks, so an answer without a length ends with the
/// connection.
fn with_defaults<B: MessageBody>(mut response: ServiceResponse<B>, version: Version) -> ServiceResponse<B> {
    let endless = response.response().body().size() == BodySize::Stream;
    let head = response.response_mut().head_mut();
    if !head.headers().contains_key(CACHE_CONTROL) {
        head.headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if endless && version < Version::HTTP_11 {
        head.no_chunking(true);
    }
    response
}

fn line_of(request: &ServiceRequest) -> String {
    format!("{} {}", request.method(), request.path())
}

/// Replaces the framework's own errors, which are empty or text, with problem details.
fn as_problem<B>(response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B>> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    let is_problem = content_type.is_some_and(|value| value == Problem::CONTENT_TYPE);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response.map_into_left_body();
    }
    let problem = ApiError::of_status(status).error_response();
    response.into_response(problem).map_into_right_body()
}
