//! `/`: the list of routes.

use actix_web::{HttpResponse, web};
use pp_http::NoQuery;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::list::LIST;
use crate::Api;
use crate::openapi::{Operation, Tag};

/// The body of `/`.
#[derive(Serialize, JsonSchema)]
struct Index {
    /// The name of the program.
    name: &'static str,
    /// Its routes.
    routes: Vec<Listed>,
    /// Its version.
    version: &'static str,
}

/// A route in the list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Route")]
struct Listed {
    /// What it does.
    does: &'static str,
    /// The method.
    method: &'static str,
    /// The path, with the names of its parameters.
    path: String,
}

pub(super) async fn index(api: web::Data<Api>, _: NoQuery) -> HttpResponse {
    let prefix = &api.config.prefix;
    let routes = LIST.iter().map(|entry| Listed {
        does: entry.does,
        method: entry.verb.name(),
        path: format!("{prefix}{}", entry.paths[0]),
    });
    HttpResponse::Ok().json(Index {
        name: "pp_backend_api",
        routes: routes.collect(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Describes `GET /`.
pub(super) fn operation(operation: Operation<'_>) -> Operation<'_> {
    let route = json!({ "method": "GET", "path": "/work/{id}", "does": "one work" });
    let example = json!({ "name": "pp_backend_api", "version": env!("CARGO_PKG_VERSION"), "routes": [route] });
    operation
        .named("get_index", Tag::Service)
        .json::<Index>(200, "The routes.", example)
}
