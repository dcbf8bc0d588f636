//! `/stats`: the counters, of all works or of one kind.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use crate::error::ApiError;
use crate::{Api, query};

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    kind: Option<String>,
}

pub(super) async fn stats(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let params: Params = query::parse(&request)?;
    let kind = params.kind.as_deref().map(query::kind).transpose()?;
    Ok(HttpResponse::Ok().json(api.ask(api.works.stats(kind)).await?))
}
