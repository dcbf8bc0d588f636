//! `/metrics`: the metrics of the process.

use actix_web::{HttpResponse, web};
use pp_http::NoQuery;

use crate::Api;

pub(super) async fn page(api: web::Data<Api>, _: NoQuery) -> HttpResponse {
    pp_http::metrics_page(&api.metrics)
}
