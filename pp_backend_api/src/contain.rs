//! Around every request: a panic becomes a 500, every error becomes problem details, a debug line tells of it, and what
//! holds for every answer is seen to - that nobody keeps it, preconditions where there is no version, HTTP/1.0.

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

use crate::error::ApiError;

/// Answers in any case.
pub(crate) async fn contain<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<EitherBody<B>>>, Error> {
    let asked = Asked::of(&request);
    let told = log::log_enabled!(log::Level::Debug).then(|| (Instant::now(), line_of(&request)));
    // Also what panics before there is a future is caught.
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
    if let Some((started, line)) = told {
        let (status, micros) = (response.status().as_u16(), started.elapsed().as_micros());
        log::debug!("{line}: {status} after {micros} µs");
    }
    Ok(finished(as_problem(asked.of_untagged(response)), asked.version))
}

/// What an answer depends on, whatever it is an answer to.
struct Asked {
    version: Version,
    /// A precondition of RFC 9110 fails where there is something to read, but nothing that tells its versions apart.
    unmet: Option<StatusCode>,
}

impl Asked {
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

    /// What has a tag was compared with it where it was read.
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

/// Says that the answer is of this moment, where it does not say how long it may be kept. HTTP/1.0 knows no chunks: what
/// has no length ends with the connection.
fn finished<B: MessageBody>(mut response: ServiceResponse<B>, version: Version) -> ServiceResponse<B> {
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

/// The framework's own errors say nothing, or say it as text.
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
