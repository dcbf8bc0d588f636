//! `/openapi.json`: the description of the API.

use actix_web::{HttpResponse, web};
use pp_http::NoQuery;
use serde_json::Value;

use crate::error::ApiError;
use crate::openapi::{Operation, Tag, document};
use crate::{Api, answer};

pub(super) async fn openapi(api: web::Data<Api>, _: NoQuery) -> Result<HttpResponse, ApiError> {
    let kinds = api.ask(api.kinds.list()).await?;
    let document = document(&kinds, api.asks(), &api.config.prefix.to_string());
    answer::send_json(&api.answers, HttpResponse::Ok(), &document)
}

/// Describes `GET /openapi.json`.
pub(super) fn operation(operation: Operation<'_>) -> Operation<'_> {
    let example = serde_json::json!({ "openapi": "3.1.0" });
    operation
        .named("get_openapi", Tag::Service)
        .text("Schemas of kinds are `kind.NAME.args` and `kind.NAME.result`, up to 256 KiB of them.")
        .json::<serde_json::Map<String, Value>>(200, "This document.", example)
}
