//! What all pages answer alike.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, Route, guard, web};
use pp_lib::wire::Problem;

/// An error's response: problem details.
pub fn problem(status: StatusCode, detail: impl Into<String>) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or("Error");
    let problem = Problem::new(status.as_u16(), title, detail);
    HttpResponse::build(status)
        .content_type(Problem::CONTENT_TYPE)
        .body(serde_json::to_string(&problem).unwrap_or_default())
}

/// A route for GET, and for HEAD, which is answered alike but for the body.
pub fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A route for the methods that a page does not have: 405, with those it has.
pub fn others(allow: &'static str) -> Route {
    web::to(move |request: HttpRequest| async move {
        let detail = format!("{} does not work here; allowed: {allow}", request.method());
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, detail);
        let value = header::HeaderValue::from_static(allow);
        response.headers_mut().insert(header::ALLOW, value);
        response
    })
}

/// A route for paths that lead nowhere: 404.
pub fn not_found() -> Route {
    web::to(|| async {
        problem(
            StatusCode::NOT_FOUND,
            "there is nothing at this path; `/` lists what there is",
        )
    })
}
