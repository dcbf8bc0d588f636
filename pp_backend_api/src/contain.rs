//! Middleware around every request. It turns panics into 500 and errors into problem details, counts the answer, writes a
//! debug line, and applies the rules for every answer: request id, security headers, cache control, preconditions of
//! answers without a version, and HTTP/1.0.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError as _};
use futures_util::FutureExt as _;
use pp_lib::domain::Problem;
use pp_lib::log_repeated;

use crate::access::Caller;
use crate::error::ApiError;
use crate::request_id::{self, REQUEST_ID};
use crate::routes::Route;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Runs the request and always answers.
pub(crate) async fn contain<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<EitherBody<B>>>, Error> {
    let context = AnswerContext::of(&request);
    let id = context.id.clone();
    let id = || id.to_str().unwrap_or_default();
    let (began, method, route) = (Instant::now(), request.method().clone(), Route::of(&request));
    let debug_line = log::log_enabled!(log::Level::Debug).then(|| line_of(&request));
    // The handler runs inside the future, so that a panic before its first await is caught too.
    let answer = AssertUnwindSafe(async { next.call(request).await })
        .catch_unwind()
        .await;
    let answered = |code| pp_http::answered(route.pattern(), &method, code, began.elapsed());
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let code = error.as_response_error().status_code();
            answered(code);
            return Err(with_id(ApiError::of_status(code), context.id));
        }
        Err(_) => {
            log_repeated!(Error, "a handler panicked", "request {}", id());
            answered(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(with_id(ApiError::internal(), context.id));
        }
    };
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        log_repeated!(Warn, "a request was answered with 500", "request {}", id());
    }
    if let Some(line) = debug_line {
        let (status, micros) = (response.status().as_u16(), began.elapsed().as_micros());
        let by = Caller::of(response.request()).principal;
        log::debug!("{line}: {status} to {by} after {micros} µs, request {}", id());
    }
    let (version, id) = (context.version, context.id.clone());
    let response = as_problem(context.of_untagged(response));
    answered(response.status());
    Ok(with_defaults(response, version, id))
}

/// The error as an answer with the id of its request.
fn with_id(error: ApiError, id: HeaderValue) -> Error {
    let mut response = error.error_response();
    complete(response.headers_mut(), id);
    InternalError::from_response(error, response).into()
}

/// The parts of a request that its answer depends on.
struct AnswerContext {
    version: Version,
    id: HeaderValue,
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
        Self {
            version: request.version(),
            id: request_id::of(request.head()),
            unmet,
        }
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

/// The headers of every answer. Caching is forbidden unless the answer allows it. A browser neither guesses the type of
/// an answer, nor shows it to a page of another origin that embeds it.
fn complete(headers: &mut HeaderMap, id: HeaderValue) {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(REQUEST_ID, id);
}

/// Completes an answer. HTTP/1.0 knows no chunks, so an answer without a length ends with the connection.
fn with_defaults<B: MessageBody>(
    mut response: ServiceResponse<B>,
    version: Version,
    id: HeaderValue,
) -> ServiceResponse<B> {
    let endless = response.response().body().size() == BodySize::Stream;
    let head = response.response_mut().head_mut();
    complete(head.headers_mut(), id);
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
