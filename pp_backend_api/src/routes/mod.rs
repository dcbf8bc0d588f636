//! The routes, and what they have in common.

mod index;
mod search;
mod works;

use std::future::Future;

use actix_web::web::{self, ServiceConfig};
use pp_lib::actor::ActorError;
use pp_lib::domain::WorkId;
use pp_probe::{get, others};
use tokio::time::timeout;

use crate::Api;
use crate::error::ApiError;

const READS: &str = "GET, HEAD";
const READS_AND_POST: &str = "GET, HEAD, POST";

/// Mounts every route but the health pages.
pub(crate) fn configure(config: &mut ServiceConfig) {
    let reads = |path: &str| web::resource(path).default_service(others(READS));
    config
        .service(reads("/").route(get().to(index::index)))
        .service(
            web::resource(["/work", "/work/"])
                .route(web::post().to(works::create))
                .route(get().to(search::search))
                .default_service(others(READS_AND_POST)),
        )
        .service(
            web::resource(["/work/search", "/work/search/"])
                .route(get().to(search::search))
                .default_service(others(READS)),
        )
        .service(reads("/work/code/{code}").route(get().to(works::by_code)))
        .service(reads("/work/{id}").route(get().to(works::get)))
        .service(reads("/work/{id}/events").route(get().to(works::events)));
}

impl Api {
    /// Asks an actor, but no longer than a request may take.
    async fn ask<T>(&self, call: impl Future<Output = Result<T, ActorError>>) -> Result<T, ApiError> {
        match timeout(self.config.request_timeout, call).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::unavailable("the answer took too long; try again in a moment")),
        }
    }
}

/// The id in a path: what is no number is a mistake, a number that no work can have is no work.
fn parse_id(text: &str) -> Result<WorkId, ApiError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::bad_request("the id of a work is a number, as in /work/1"));
    }
    match text.parse() {
        Ok(id @ 1..) => Ok(WorkId(id)),
        _ => Err(no_such_work()),
    }
}

fn no_such_work() -> ApiError {
    ApiError::not_found("there is no such work")
}
