//! `/`: the list of routes.

use actix_web::{HttpResponse, web};
use pp_http::NoQuery;
use serde_json::{Value, json};

use super::list::LIST;
use crate::Api;

pub(super) async fn index(api: web::Data<Api>, _: NoQuery) -> HttpResponse {
    let prefix = &api.config.prefix;
    let routes: Vec<Value> = LIST
        .iter()
        .map(|entry| {
            let path = format!("{prefix}{}", entry.paths[0]);
            json!({"method": entry.verb.name(), "path": path, "does": entry.does})
        })
        .collect();
    HttpResponse::Ok().json(json!({
        "name": "pp_backend_api",
        "version": env!("CARGO_PKG_VERSION"),
        "routes": routes,
    }))
}
