//! `/stats`: the counters, of all works or of one kind. `/stats/seconds`: what was done in each of the last seconds.

use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use pp_lib::domain::{KindName, Seconds, Stats};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::openapi::{Operation, Tag, examples};
use crate::{Api, answer, query};

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

pub(super) async fn seconds(api: web::Data<Api>, _: NoQuery) -> Result<HttpResponse, ApiError> {
    let seconds = api.ask(api.works.seconds()).await?;
    answer::send_json(&api.answers, HttpResponse::Ok(), &seconds)
}

/// Describes `GET /stats`.
pub(super) fn stats_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_stats", Tag::Service)
        .query::<Params>()
        .json::<Stats>(200, "The counters, all of one moment.", examples::stats())
}

/// Describes `GET /stats/seconds`.
pub(super) fn seconds_operation(operation: Operation<'_>) -> Operation<'_> {
    let done = json!([{ "kind": "add_up_to", "per_second": [2, 0] }]);
    let example = json!({ "from": 1_795_199_608, "done": done, "p50_ms": [3.5, null], "p99_ms": [8.1, null] });
    operation.named("get_stats_seconds", Tag::Service).json::<Seconds>(
        200,
        "The last 115 whole seconds; two of them here.",
        example,
    )
}
