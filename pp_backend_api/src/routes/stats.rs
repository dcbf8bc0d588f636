//! `/stats`: the counters, of all works or of one kind.

use actix_web::{HttpRequest, HttpResponse, web};
use pp_lib::domain::{KindName, Stats};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::ApiError;
use crate::openapi::{Operation, Tag, examples};
use crate::{Api, query};

/// The query parameters.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Params {
    /// The kind to count; all of them unless it is given.
    #[schemars(with = "KindName")]
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

/// Describes `GET /stats`.
pub(super) fn stats_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_stats", Tag::Service)
        .query::<Params>()
        .json::<Stats>(200, "The counters, all of one moment.", examples::stats())
}
