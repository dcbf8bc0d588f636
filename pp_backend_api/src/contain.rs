//! Around every request: a panic becomes a 500, every error becomes problem details, and a debug line tells of it.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_TYPE;
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError as _};
use futures_util::FutureExt as _;
use pp_lib::wire::Problem;

use crate::error::ApiError;

/// Answers in any case.
pub(crate) async fn contain<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let told = log::log_enabled!(log::Level::Debug).then(|| (Instant::now(), line_of(&request)));
    // Also what panics before there is a future is caught.
    let answer = AssertUnwindSafe(async { next.call(request).await })
        .catch_unwind()
        .await;
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(ApiError::of_status(error.as_response_error().status_code()).into()),
        Err(_) => {
            log::error!("a handler panicked");
            return Err(ApiError::internal().into());
        }
    };
    if let Some((started, line)) = told {
        let (status, micros) = (response.status().as_u16(), started.elapsed().as_micros());
        log::debug!("{line}: {status} after {micros} µs");
    }
    Ok(as_problem(response))
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
