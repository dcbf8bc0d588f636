//! The API's error type, always sent as problem details.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use pp_lib::domain::{Fault, Problem};
use pp_lib::serving::{ActorError, DemandError, KeyError};
use pp_lib::store::{Changed, StoreError};
use pp_lib::streams::StreamsError;

/// A status and the explanation for the client.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    /// The cause for programs, where the status alone does not tell it.
    code: Option<&'static str>,
    detail: Cow<'static, str>,
    /// What came between, where a change came too late.
    why: &'static str,
    /// The seconds after which the same request may succeed.
    retry_after: Option<u64>,
    /// The single faults of the request's values.
    faults: Vec<Fault>,
}

/// The detail of every internal error. The cause belongs into the log.
const INTERNAL: &str = "an internal error occurred; see the log of the service";

impl ApiError {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code: None,
            detail: detail.into(),
            why: "",
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
            faults: Vec::new(),
        }
    }

    /// The same error with a code of its own.
    pub(crate) fn code(self, code: &'static str) -> Self {
        let code = Some(code);
        Self { code, ..self }
    }

    /// The same error with the reason why a change came too late.
    pub(crate) fn why(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    /// Its problem details.
    pub(crate) fn problem(&self) -> Problem {
        Problem {
            why: self.why.to_owned(),
            errors: self.faults.clone(),
            ..pp_http::problem_of(self.status, self.code, self.detail.as_ref())
        }
    }

    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub(crate) fn unsupported(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 422 with these faults.
    pub(crate) fn faulty(detail: impl Into<Cow<'static, str>>, faults: Vec<Fault>) -> Self {
        Self {
            faults,
            ..Self::unprocessable(detail)
        }
    }

    pub(crate) fn precondition_failed() -> Self {
        let detail = "the current version does not match If-Match or If-None-Match; read it again";
        Self::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// The error for a change that the work does not allow.
    pub(crate) fn refused<T>(changed: &Changed<T>) -> Self {
        match changed {
            Changed::OtherVersion => Self::precondition_failed(),
            Changed::WrongStatus(status) => {
                Self::conflict(format!("the work is {status}; this status does not allow the change"))
                    .code("wrong_status")
            }
            Changed::UniqueHeld => Self::conflict(
                "another work of this kind with the same unique is unfinished; this work cannot begin again",
            )
            .code("unique_held"),
            Changed::Missing => Self::no_such_work(),
            Changed::Applied(_) => Self::internal(),
        }
    }

    pub(crate) fn no_such_work() -> Self {
        Self::not_found("there is no such work")
    }

    /// 503. The same request may succeed later.
    pub(crate) fn unavailable(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
    }

    /// The error for a status without details.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        if status.is_server_error() {
            Self::new(status, INTERNAL)
        } else {
            Self::new(status, "the request is invalid")
        }
    }
}

impl From<ActorError> for ApiError {
    fn from(error: ActorError) -> Self {
        match error {
            ActorError::Overloaded => {
                Self::unavailable("too many requests are waiting; try again in a moment").code("overloaded")
            }
            ActorError::Unsure => {
                Self::unavailable("the cache is unavailable, so it is unknown if this work exists; try again")
                    .code("cache_unavailable")
            }
            ActorError::TooManyToday { most, next_day_in } => Self {
                retry_after: Some(next_day_in.as_secs().max(1)),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    format!(
                        "this API key may create {most} works in a day (UTC); Retry-After says when the next one begins"
                    ),
                )
            }
            .code("too_many_works"),
            ActorError::Stopped => Self::unavailable("the service is stopping").code("stopping"),
            ActorError::Store(error) => error.into(),
            _ => Self::internal(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                Self::unavailable("the database is unavailable; try again in a moment").code("database_unavailable")
            }
            StoreError::Unwell(_) => Self::unavailable(
                "the database refuses what it should take: it is read-only, full or damaged, or was changed; \
                 see the log of the service",
            )
            .code("database_unwell"),
            StoreError::Damaged(_) => Self::unavailable(
                "the database is damaged: it has to be repaired or restored, trying again does not help",
            )
            .code("database_damaged"),
            StoreError::Outdated(_) => {
                Self::unavailable("a newer version of PP has changed the database; this process ends").code("outdated")
            }
            _ => Self::internal(),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Actor(error) => error.into(),
            KeyError::OtherRequest => Self::unprocessable("this Idempotency-Key was used for another request before")
                .code("idempotency_key_reused"),
            KeyError::InFlight => Self {
                retry_after: Some(1),
                ..Self::conflict("a request with this Idempotency-Key is running; try again in a moment")
            }
            .code("idempotency_key_in_flight"),
            KeyError::Refused(changed) => Self::refused(&changed),
            _ => Self::internal(),
        }
    }
}

impl From<StreamsError> for ApiError {
    fn from(error: StreamsError) -> Self {
        match error {
            StreamsError::TooMany => {
                Self::unavailable("too many streams are open; try again in a moment").code("too_many_streams")
            }
            _ => Self::internal(),
        }
    }
}

impl From<DemandError> for ApiError {
    fn from(error: DemandError) -> Self {
        match error {
            DemandError::Actor(error) => error.into(),
            DemandError::NotConfirmed => {
                Self::unavailable("the broker did not confirm the demand; send it again in a moment")
                    .code("broker_unavailable")
            }
            DemandError::OtherDemand => KeyError::OtherRequest.into(),
            DemandError::NotShared => Self::unavailable(
                "demands need a cache shared by all API processes; set PP_CACHE_URL to redis://, or run one process",
            )
            .code("cache_not_shared"),
            _ => Self::internal(),
        }
    }
}

/// A parser's message, shortened because it may repeat the input.
pub(crate) fn shortened(error: &impl fmt::Display) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(200));
    text
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = pp_http::send_problem(self.status, &self.problem());
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
