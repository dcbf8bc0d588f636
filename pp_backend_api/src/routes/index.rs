//! `/`: what there is.

use actix_web::HttpResponse;
use serde_json::{Value, json};

const ROUTES: [(&str, &str, &str); 9] = [
    (
        "POST",
        "/work",
        "create a work; {\"add_up_to\":n}, or no body for a random bound",
    ),
    ("GET", "/work", "the same as /work/search"),
    (
        "GET",
        "/work/search",
        "search; work_code (prefix), status, done, since, limit, before",
    ),
    ("GET", "/work/{id}", "one work"),
    ("GET", "/work/code/{code}", "one work by its code"),
    ("GET", "/work/{id}/events", "the history of a work, oldest first"),
    ("GET", "/health/live", "whether the process lives"),
    ("GET", "/health/ready", "whether it can serve, and its parts"),
    ("GET", "/", "this list"),
];

pub(super) async fn index() -> HttpResponse {
    let routes: Vec<Value> = ROUTES
        .iter()
        .map(|(method, path, does)| json!({"method": method, "path": path, "does": does}))
        .collect();
    HttpResponse::Ok().json(json!({
        "name": "pp_backend_api",
        "version": env!("CARGO_PKG_VERSION"),
        "routes": routes,
    }))
}
