//! Reads request bodies within limits of size and time, and parses them.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::error::InternalError;
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest, ResponseError as _, web};
use futures_util::future::LocalBoxFuture;
use pp_http::Share;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use tokio::time::timeout;

use crate::error::{ApiError, shortened};
use crate::{Api, Config};

/// The initial room for a body of unknown length.
const FIRST_ROOM: usize = 1024;

/// A complete body; it is empty if the request has none. Its bytes are counted until it is dropped.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) share: Share,
}

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let api = web::Data::<Api>::extract(&request).await?;
            read(&api, &request, payload).await
        })
    }
}

impl Body {
    /// Parses the body, as [`parse`] does; `None` if it is empty.
    pub(crate) fn parse_if_any<T: DeserializeOwned>(&self, request: &HttpRequest) -> Result<Option<T>, ApiError> {
        match self.bytes.is_empty() {
            true => Ok(None),
            false => parse(request, &self.bytes).map(Some),
        }
    }
}

/// A response's body together with the unread rest of the request's body. The server closes the connection after the
/// response as long as the rest has an owner. Without one it would wait for a body that may never end.
struct BodyWithUnread {
    body: BoxBody,
    _unread: Payload,
}

impl MessageBody for BodyWithUnread {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

async fn read(api: &Api, request: &HttpRequest, mut payload: Payload) -> Result<Body, actix_web::Error> {
    let config = &api.config;
    let declared = declared_length(request);
    let outcome = match declared {
        Some(length) if length > config.body_limit => Err(too_large(config)),
        _ => timeout(config.request_timeout, collect(api, declared, &mut payload))
            .await
            .unwrap_or_else(|_| Err(too_slow(config))),
    };
    outcome.map_err(|error| {
        let response = error.error_response();
        let response = response.map_body(|_, body| BodyWithUnread { body, _unread: payload }.boxed());
        InternalError::from_response(error, response).into()
    })
}

fn declared_length(request: &HttpRequest) -> Option<usize> {
    request
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Takes room from the budget as bytes arrive, not as they are announced. A client that sends no bytes occupies none.
async fn collect(api: &Api, declared: Option<usize>, payload: &mut Payload) -> Result<Body, ApiError> {
    use futures_util::StreamExt as _;
    let (limit, mut share) = (api.config.body_limit, api.bodies.share());
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::bad_request("the body ended before it was complete"))?;
        let length = body.len() + chunk.len();
        if length > limit {
            return Err(too_large(&api.config));
        }
        if length > body.capacity() {
            let room = (2 * body.capacity()).max(FIRST_ROOM).min(declared.unwrap_or(limit));
            let room = room.max(length);
            if !share.resize(room) {
                return Err(no_room());
            }
            body.reserve_exact(room - body.len());
        }
        body.extend_from_slice(&chunk);
    }
    let bytes = body.into();
    Ok(Body { bytes, share })
}

/// The error for a body beyond `PP_BODY_BUDGET`.
pub(crate) fn no_room() -> ApiError {
    ApiError::unavailable("too many large requests are being received; try again in a moment").code("no_room")
}

fn too_large(config: &Config) -> ApiError {
    let detail = format!("a body may have at most {} bytes", config.body_limit);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn too_slow(config: &Config) -> ApiError {
    let millis = config.request_timeout.as_millis();
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the body took longer than {millis} ms"),
    )
}

/// Parses a body as JSON of one shape. The error is 400 if it is not JSON, and 422 if it has another shape. An empty
/// body counts as `null`.
pub(crate) fn parse<T: DeserializeOwned>(request: &HttpRequest, body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() {
        b"null"
    } else {
        expect_json(request)?;
        body
    };
    // The first pass reads everything as JSON, so that an incomplete body is reported before a wrong value in it.
    let parsed = serde_json::from_slice::<IgnoredAny>(body).and_then(|_| serde_json::from_slice(body));
    parsed.map_err(|error| match error.classify() {
        Category::Data => ApiError::unprocessable(shortened(&error)),
        _ => ApiError::bad_request(format!("the body is not JSON: {}", shortened(&error))),
    })
}

fn expect_json(request: &HttpRequest) -> Result<(), ApiError> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(ApiError::unsupported(
            "the body must not be encoded; leave out the header Content-Encoding",
        ));
    }
    let value = request.headers().get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ApiError::unsupported(
            "a body needs the header `Content-Type: application/json`",
        ))
    }
}
