//! `/stats`: the counters.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::Api;
use crate::error::ApiError;
use crate::query;
use crate::wanted::Nothing;

pub(super) async fn stats(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let Nothing {} = query::parse(&request)?;
    Ok(HttpResponse::Ok().json(api.ask(api.works.store().stats()).await?))
}
