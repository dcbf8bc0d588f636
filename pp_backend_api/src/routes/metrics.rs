//! `/metrics`: the metrics of the process.

use actix_web::{HttpResponse, web};
use pp_http::NoQuery;

use crate::Api;
use crate::openapi::{Operation, Tag};

pub(super) async fn page(api: web::Data<Api>, _: NoQuery) -> HttpResponse {
    pp_http::metrics_page(&api.metrics)
}

/// Describes `GET /metrics`.
pub(super) fn operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_metrics", Tag::Service)
        .file("text/plain", "The metrics.")
}
