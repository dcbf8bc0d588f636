//! `/stats`: the counters.

use actix_web::{HttpResponse, web};
use pp_http::NoQuery;

use crate::Api;
use crate::error::ApiError;

pub(super) async fn stats(api: web::Data<Api>, _: NoQuery) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(api.ask(api.works.stats()).await?))
}
