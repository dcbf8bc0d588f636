//! The answers and routes that all pages share.

use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, Route, guard, web};
use pp_lib::domain::Problem;
use url::form_urlencoded;

/// The response to an error: problem details that must not be cached.
pub fn problem(status: StatusCode, detail: impl Into<String>) -> HttpResponse {
    send_problem(status, &problem_of(status, None, detail))
}

/// The problem details of a status.
pub fn problem_of(status: StatusCode, code: Option<&str>, detail: impl Into<String>) -> Problem {
    let title = status.canonical_reason().unwrap_or("Error");
    Problem::new(status.as_u16(), title, detail).with_code(code)
}

/// An answer with these problem details.
pub fn send_problem(status: StatusCode, problem: &Problem) -> HttpResponse {
    HttpResponse::build(status)
        .content_type(Problem::CONTENT_TYPE)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(serde_json::to_string(problem).unwrap_or_default())
}

/// A route for GET and HEAD. The server omits the body of the answer to HEAD.
pub fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A route for unsupported methods: answers 405 and lists the allowed ones.
pub fn others(allow: impl Into<String>) -> Route {
    let allow = allow.into();
    web::to(move |request: HttpRequest| {
        let detail = format!("{} is not supported here; use one of {allow}", request.method());
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, detail);
        if let Ok(value) = header::HeaderValue::from_str(&allow) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        ready(response)
    })
}

/// A route for unknown paths: answers 404.
pub fn not_found() -> Route {
    web::to(|| async {
        problem(
            StatusCode::NOT_FOUND,
            "there is nothing at this path; `/` lists what there is",
        )
    })
}

/// A handler argument for a path without query parameters. Any parameter is answered with 400.
#[derive(Clone, Copy, Debug)]
pub struct NoQuery;

impl FromRequest for NoQuery {
    type Error = UnknownParameter;
    type Future = Ready<Result<Self, UnknownParameter>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let first = form_urlencoded::parse(request.query_string().as_bytes()).next();
        ready(match first {
            None => Ok(Self),
            Some((name, _)) => Err(UnknownParameter(name[..name.floor_char_boundary(100)].to_owned())),
        })
    }
}

/// A query parameter of a path that takes none.
#[derive(Debug)]
pub struct UnknownParameter(String);

impl fmt::Display for UnknownParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown parameter `{}`: this path takes no query parameters; remove it",
            self.0
        )
    }
}

impl ResponseError for UnknownParameter {
    fn status_code(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn error_response(&self) -> HttpResponse {
        problem(self.status_code(), self.to_string())
    }
}
