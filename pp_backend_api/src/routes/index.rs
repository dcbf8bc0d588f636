//! `/`: the list of routes, or the dashboard for a browser.

use actix_web::http::header::{HeaderValue, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use pp_http::NoQuery;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::list::LIST;
use super::ui;
use crate::Api;
use crate::error::ApiError;
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

pub(super) async fn index(api: web::Data<Api>, request: HttpRequest, _: NoQuery) -> Result<HttpResponse, ApiError> {
    let mut response = match ui::is_wanted(&request) {
        true => ui::page(&request)?,
        false => HttpResponse::Ok().json(list(&api)),
    };
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, accept);
    Ok(response)
}

fn list(api: &Api) -> Index {
    let prefix = &api.config.prefix;
    let listed = LIST.iter().map(|entry| Listed {
        does: entry.does,
        method: entry.verb.name(),
        path: format!("{prefix}{}", entry.path()),
    });
    Index {
        name: "pp_backend_api",
        routes: listed.collect(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Describes `GET /`.
pub(super) fn operation(operation: Operation<'_>) -> Operation<'_> {
    let route = json!({ "method": "GET", "path": "/work/{id}", "does": "one work" });
    let example = json!({ "name": "pp_backend_api", "version": env!("CARGO_PKG_VERSION"), "routes": [route] });
    operation
        .named("get_index", Tag::Service)
        .text("Where `Accept` has `text/html`, the answer is the dashboard.")
        .json::<Index>(200, "The routes.", example)
        .or_page()
}
