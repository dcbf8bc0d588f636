//! `/health/live` and `/health/ready`. The API mounts them beside its routes; a listener of their own has `/metrics` too.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::{HttpResponse, web};
use pp_lib::domain::Problem;
use pp_lib::runtime::{Health, Metrics, Report};
use serde::Serialize;

use crate::NoQuery;

/// Health changes at any moment, so no cache may keep it.
const NO_STORE: (HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// Mounts the health pages.
pub(crate) fn configure(health: Health) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .app_data(web::Data::new(health))
            .service(page("/health/live").route(crate::get().to(live)))
            .service(page("/health/ready").route(crate::get().to(ready)));
    }
}

/// Mounts `/metrics`.
pub(crate) fn with_metrics(metrics: Metrics) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .app_data(web::Data::new(metrics))
            .service(page("/metrics").route(crate::get().to(shown)));
    }
}

async fn shown(metrics: web::Data<Metrics>, _: NoQuery) -> HttpResponse {
    crate::metrics_page(&metrics)
}

fn page(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(crate::others("GET, HEAD"))
}

/// Answers 200 while the process makes progress, else 503. Only a restart helps then. It needs the application's data
/// [`Health`].
pub async fn live(health: web::Data<Health>, _: NoQuery) -> HttpResponse {
    match health.stuck_for() {
        None => HttpResponse::Ok()
            .insert_header(NO_STORE)
            .json(serde_json::json!({"status": "live"})),
        Some(age) => crate::problem(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the process is stuck: no task of it has run for {} s", age.as_secs()),
        ),
    }
}

/// Answers 200 and lists degraded parts while every promised call can be served, else 503. It needs the application's
/// data [`Health`].
pub async fn ready(health: web::Data<Health>, _: NoQuery) -> HttpResponse {
    let report = health.report();
    if report.is_ready() {
        HttpResponse::Ok().insert_header(NO_STORE).json(report)
    } else {
        not_ready(&report)
    }
}

/// Problem details, together with the fields of a healthy answer.
#[derive(Serialize)]
struct NotReady<'a> {
    #[serde(flatten)]
    problem: Problem,
    readiness: pp_lib::runtime::Readiness,
    parts: &'a [pp_lib::runtime::PartReport],
}

fn not_ready(report: &Report) -> HttpResponse {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let body = NotReady {
        problem: Problem::new(status.as_u16(), "Service Unavailable", report.trouble()),
        readiness: report.status,
        parts: &report.parts,
    };
    HttpResponse::build(status)
        .content_type(Problem::CONTENT_TYPE)
        .insert_header(NO_STORE)
        .insert_header(("retry-after", "1"))
        .body(serde_json::to_string(&body).unwrap_or_default())
}
