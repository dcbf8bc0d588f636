//! The routes and their shared parts.

mod changes;
mod dead_letters;
mod demand;
mod index;
mod kinds;
mod live;
mod search;
mod stats;
mod streams;
mod works;

use std::future::Future;

use actix_web::web::{self, ServiceConfig};
use pp_http::{get, others};
use pp_lib::domain::WorkId;
use tokio::time::timeout;

use crate::Api;
use crate::error::ApiError;

const READS: &str = "GET, HEAD";
const POST: &str = "POST";
const READS_AND_POST: &str = "GET, HEAD, POST";
const READS_AND_CHANGES: &str = "GET, HEAD, PATCH, DELETE";
const READS_PUT_AND_PATCH: &str = "GET, HEAD, PUT, PATCH";
const READS_AND_DELETE: &str = "GET, HEAD, DELETE";

/// Mounts every route except the health pages.
pub(crate) fn configure(config: &mut ServiceConfig) {
    let resource = |path, allow| web::resource::<Vec<&str>>(path).default_service(others(allow));
    config
        .service(resource(vec!["/"], READS).route(get().to(index::index)))
        .service(
            resource(vec!["/work", "/work/"], READS_AND_POST)
                .route(web::post().to(works::create))
                .route(get().to(search::search)),
        )
        .service(resource(vec!["/work/bulk", "/work/bulk/"], POST).route(web::post().to(works::create_all)))
        .service(resource(vec!["/work/demand", "/work/demand/"], POST).route(web::post().to(demand::demand)))
        .service(resource(vec!["/work/search", "/work/search/"], READS).route(get().to(search::search)))
        .service(resource(vec!["/work/code/{code}"], READS).route(get().to(works::by_code)))
        .service(
            resource(vec!["/work/{id}"], READS_AND_CHANGES)
                .route(get().to(works::get))
                .route(web::patch().to(changes::update))
                .route(web::delete().to(changes::delete)),
        )
        .service(resource(vec!["/work/{id}/cancel"], POST).route(web::post().to(changes::cancel)))
        .service(resource(vec!["/work/{id}/retry"], POST).route(web::post().to(changes::retry)))
        .service(resource(vec!["/work/{id}/events"], READS).route(get().to(works::events)))
        .service(resource(vec!["/stats", "/stats/"], READS).route(get().to(stats::stats)))
        .service(resource(vec!["/work/{id}/stream"], READS).route(get().to(streams::of_work)))
        .service(resource(vec!["/stream", "/stream/"], READS).route(get().to(streams::all)))
        .service(resource(vec!["/stats/stream"], READS).route(get().to(streams::stats)))
        .service(resource(vec!["/live"], READS).route(get().to(live::page)))
        .service(resource(vec!["/live.css"], READS).route(get().to(live::style)))
        .service(resource(vec!["/live.js"], READS).route(get().to(live::script)))
        .service(resource(vec!["/live.svg"], READS).route(get().to(live::icon)))
        .service(resource(vec!["/kind", "/kind/"], READS).route(get().to(kinds::list)))
        .service(
            resource(vec!["/kind/{name}"], READS_PUT_AND_PATCH)
                .route(get().to(kinds::get))
                .route(web::put().to(kinds::declare))
                .route(web::patch().to(kinds::set)),
        )
        .service(
            resource(vec!["/deadletter", "/deadletter/"], READS_AND_DELETE)
                .route(get().to(dead_letters::list))
                .route(web::delete().to(dead_letters::drop_letters)),
        )
        .service(
            resource(vec!["/deadletter/redrive", "/deadletter/redrive/"], POST)
                .route(web::post().to(dead_letters::redrive)),
        );
}

impl Api {
    /// Waits for an answer within the time limit of a request.
    pub(crate) async fn ask<T, E: Into<ApiError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        match timeout(self.config.request_timeout, call).await {
            Ok(answer) => answer.map_err(E::into),
            Err(_) => Err(ApiError::unavailable("the answer took too long; try again in a moment")),
        }
    }
}

/// Parses an id. A text that is no number is a client error; a number outside the range is an unknown work.
fn parse_id(text: &str) -> Result<WorkId, ApiError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::bad_request(
            "the id of a work must be a number, as in /work/1",
        ));
    }
    match text.parse() {
        Ok(id @ 1..) => Ok(WorkId(id)),
        _ => Err(no_such_work()),
    }
}

fn no_such_work() -> ApiError {
    ApiError::no_such_work()
}
