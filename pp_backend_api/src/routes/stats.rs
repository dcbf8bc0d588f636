//! `/stats`: the counters, of all works or of one kind.

use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::KindName;
use serde::Deserialize;

use crate::error::ApiError;
use crate::{Api, query};

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    kind: Option<String>,
}

/// The kind to count, if the request names one.
pub(super) fn kind(request: &HttpRequest) -> Result<Option<KindName>, ApiError> {
    let params: Params = query::parse(request)?;
    params.kind.as_deref().map(query::kind).transpose()
}

pub(super) async fn stats(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let kind = kind(&request)?;
    Ok(HttpResponse::Ok().json(api.ask(api.works.stats(kind)).await?))
}
