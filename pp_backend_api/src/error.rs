//! The one type of error that leaves the API, always as problem details.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use pp_lib::serving::ActorError;
use pp_lib::serving::{DemandError, KeyError};
use pp_lib::store::{Changed, StoreError};
use pp_lib::streams::StreamsError;

/// A status, and what its sender should know.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    detail: Cow<'static, str>,
    /// Whether the same request may succeed in a moment.
    later: bool,
}

/// What is said of anything that is the program's fault: what went wrong inside is the log's business.
const INTERNAL: &str = "something went wrong inside; the log of the service has more";

impl ApiError {
    /// An error of a status.
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            later: status == StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// 400.
    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409.
    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 415.
    pub(crate) fn unsupported(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 422.
    pub(crate) fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 412.
    pub(crate) fn precondition_failed() -> Self {
        let detail = "what is here is not at a version that If-Match and If-None-Match allow; read it again";
        Self::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// What a change is answered with that a work does not allow.
    pub(crate) fn refused<T>(changed: &Changed<T>) -> Self {
        match changed {
            Changed::OtherVersion => Self::precondition_failed(),
            Changed::WrongStatus(status) => Self::conflict(format!("the work is {status}, which rules that out")),
            Changed::Missing => Self::no_such_work(),
            Changed::Applied(_) => Self::internal(),
        }
    }

    /// 404, for a work.
    pub(crate) fn no_such_work() -> Self {
        Self::not_found("there is no such work")
    }

    /// 503, to be tried again.
    pub(crate) fn unavailable(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 500.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
    }

    /// What is made of an error that only has a status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        if status.is_server_error() {
            Self::new(status, INTERNAL)
        } else {
            Self::new(status, "the request cannot be understood")
        }
    }
}

impl From<ActorError> for ApiError {
    fn from(error: ActorError) -> Self {
        match error {
            ActorError::Overloaded => Self::unavailable("too many requests wait already; try again in a moment"),
            ActorError::Unsure => {
                Self::unavailable("while the cache is away it is not known whether there is such a work; try again")
            }
            ActorError::Stopped => Self::unavailable("the service is stopping"),
            ActorError::Store(error) => error.into(),
            _ => Self::internal(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable("the database is unavailable; try again in a moment"),
            StoreError::Unwell(_) => Self::unavailable(
                "the database refuses what it should take: it is read-only, full or damaged, or was changed; \
                 the log of the service has its words",
            ),
            StoreError::Damaged(_) => Self::unavailable(
                "the database is damaged: it has to be repaired or restored, trying again does not help",
            ),
            StoreError::Outdated(_) => {
                Self::unavailable("a newer version of PP has changed the database; this one ends")
            }
            _ => Self::internal(),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Actor(error) => error.into(),
            KeyError::OtherRequest => Self::unprocessable("this Idempotency-Key was used for another request before"),
            KeyError::InFlight => Self {
                later: true,
                ..Self::conflict("a request with this Idempotency-Key is under way; try again in a moment")
            },
            KeyError::Refused(changed) => Self::refused(&changed),
            _ => Self::internal(),
        }
    }
}

impl From<StreamsError> for ApiError {
    fn from(error: StreamsError) -> Self {
        match error {
            StreamsError::TooMany => Self::unavailable("too many streams are open already; try again in a moment"),
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
            }
            DemandError::OtherDemand => KeyError::OtherRequest.into(),
            DemandError::NotShared => Self::unavailable(
                "demands need a cache that all API processes share: set PP_CACHE_URL to redis://, or run one process",
            ),
            _ => Self::internal(),
        }
    }
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
        let mut response = pp_http::problem(self.status, self.detail.as_ref());
        if self.later {
            let second = header::HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}
