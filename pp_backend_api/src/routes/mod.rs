//! The routes and their shared parts.

mod changes;
mod dead_letters;
mod demand;
mod index;
mod keys;
mod kinds;
mod live;
mod metrics;
mod route;
mod runs;
mod search;
mod stats;
mod streams;
mod worker_files;
mod works;

use std::future::Future;

use actix_web::body::BoxBody;
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use pp_http::{get, others};
use pp_lib::domain::{Scope, WorkId};
use tokio::time::timeout;

use crate::Api;
use crate::access::{self, Needs};
use crate::error::ApiError;

pub(crate) use self::route::Route;

/// A method of a path, what it needs, and its handler.
pub(crate) struct Entry {
    paths: &'static [&'static str],
    pub(crate) verb: Verb,
    pub(crate) needs: Needs,
    to: fn(actix_web::Route) -> actix_web::Route,
}

/// The methods that routes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// GET and HEAD.
    Read,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    /// True if this is the method.
    pub(crate) fn is(self, method: &Method) -> bool {
        match self {
            Self::Read => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => method == Method::POST,
            Self::Put => method == Method::PUT,
            Self::Patch => method == Method::PATCH,
            Self::Delete => method == Method::DELETE,
        }
    }

    fn route(self) -> actix_web::Route {
        match self {
            Self::Read => get(),
            Self::Post => web::post(),
            Self::Put => web::put(),
            Self::Patch => web::patch(),
            Self::Delete => web::delete(),
        }
    }

    fn names(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

const fn entry(
    paths: &'static [&'static str],
    verb: Verb,
    needs: Needs,
    to: fn(actix_web::Route) -> actix_web::Route,
) -> Entry {
    Entry { paths, verb, needs, to }
}

/// Every route except the health pages, which are open. The methods of a path stand together.
#[rustfmt::skip]
static TABLE: &[Entry] = &[
    entry(&["/"], Verb::Read, Needs::Nothing, |route| route.to(index::index)),
    entry(&["/work", "/work/"], Verb::Read, Needs::Read, |route| route.to(search::search)),
    entry(&["/work", "/work/"], Verb::Post, Needs::Create, |route| route.to(works::create)),
    entry(&["/work/bulk", "/work/bulk/"], Verb::Post, Needs::Create, |route| route.to(works::create_all)),
    entry(&["/work/demand", "/work/demand/"], Verb::Post, Needs::Create, |route| route.to(demand::demand)),
    entry(&["/work/search", "/work/search/"], Verb::Read, Needs::Read, |route| route.to(search::search)),
    entry(&["/work/code/{code}"], Verb::Read, Needs::Read, |route| route.to(works::by_code)),
    entry(&["/work/{id}"], Verb::Read, Needs::Read, |route| route.to(works::get)),
    entry(&["/work/{id}"], Verb::Patch, Needs::Operate, |route| route.to(changes::update)),
    entry(&["/work/{id}"], Verb::Delete, Needs::Operate, |route| route.to(changes::delete)),
    entry(&["/work/{id}/cancel"], Verb::Post, Needs::Operate, |route| route.to(changes::cancel)),
    entry(&["/work/{id}/retry"], Verb::Post, Needs::Operate, |route| route.to(changes::retry)),
    entry(&["/work/{id}/events"], Verb::Read, Needs::Read, |route| route.to(works::events)),
    entry(&["/stats", "/stats/"], Verb::Read, Needs::Read, |route| route.to(stats::stats)),
    entry(&["/work/{id}/stream"], Verb::Read, Needs::Read, |route| route.to(streams::of_work)),
    entry(&["/stream", "/stream/"], Verb::Read, Needs::Read, |route| route.to(streams::all)),
    entry(&["/stats/stream"], Verb::Read, Needs::Read, |route| route.to(streams::stats)),
    entry(&["/live"], Verb::Read, Needs::Nothing, |route| route.to(live::page)),
    entry(&["/live.css"], Verb::Read, Needs::Nothing, |route| route.to(live::style)),
    entry(&["/live.js"], Verb::Read, Needs::Nothing, |route| route.to(live::script)),
    entry(&["/live.svg"], Verb::Read, Needs::Nothing, |route| route.to(live::icon)),
    entry(&["/kind", "/kind/"], Verb::Read, Needs::Read, |route| route.to(kinds::list)),
    entry(&["/kind/{name}"], Verb::Read, Needs::Read, |route| route.to(kinds::get)),
    entry(&["/kind/{name}"], Verb::Put, Needs::Operate, |route| route.to(kinds::declare)),
    entry(&["/kind/{name}"], Verb::Patch, Needs::Operate, |route| route.to(kinds::set)),
    entry(&["/kind/{name}/secret"], Verb::Put, Needs::Admin, |route| route.to(kinds::set_secret)),
    entry(&["/kind/{name}/worker.py"], Verb::Read, Needs::Read, |route| route.to(worker_files::python)),
    entry(&["/kind/{name}/worker.mjs"], Verb::Read, Needs::Read, |route| route.to(worker_files::node)),
    entry(&["/run/claim"], Verb::Post, Needs::Work, |route| route.to(runs::claim)),
    entry(&["/run/heartbeat"], Verb::Post, Needs::Work, |route| route.to(runs::heartbeat)),
    entry(&["/run/complete"], Verb::Post, Needs::Work, |route| route.to(runs::complete)),
    entry(&["/run/fail"], Verb::Post, Needs::Work, |route| route.to(runs::fail)),
    entry(&["/run/snooze"], Verb::Post, Needs::Work, |route| route.to(runs::snooze)),
    entry(&["/worker", "/worker/"], Verb::Read, Needs::Read, |route| route.to(runs::workers)),
    entry(&["/deadletter", "/deadletter/"], Verb::Read, Needs::Read, |route| route.to(dead_letters::list)),
    entry(&["/deadletter", "/deadletter/"], Verb::Delete, Needs::Operate, |route| route.to(dead_letters::drop_letters)),
    entry(&["/deadletter/redrive", "/deadletter/redrive/"], Verb::Post, Needs::Operate, |route| route.to(dead_letters::redrive)),
    entry(&["/key", "/key/"], Verb::Read, Needs::Admin, |route| route.to(keys::list)),
    entry(&["/key", "/key/"], Verb::Post, Needs::Admin, |route| route.to(keys::create)),
    entry(&["/key/{id}"], Verb::Delete, Needs::Admin, |route| route.to(keys::revoke)),
    entry(&["/audit", "/audit/"], Verb::Read, Needs::Admin, |route| route.to(keys::audit)),
    entry(&["/metrics"], Verb::Read, Needs::Read, |route| route.to(metrics::page)),
    entry(&["/session"], Verb::Post, Needs::Nothing, |route| route.to(keys::sign_in)),
    entry(&["/session"], Verb::Delete, Needs::Nothing, |route| route.to(keys::sign_out)),
];

/// Mounts the routes of the table.
pub(crate) fn configure(config: &mut ServiceConfig) {
    for entries in TABLE.chunk_by(|one, other| one.paths == other.paths) {
        let allow: Vec<&str> = entries.iter().map(|entry| entry.verb.names()).collect();
        let resource = web::resource(entries[0].paths.to_vec()).default_service(others(allow.join(", ")));
        let resource = entries.iter().fold(resource, |resource, entry| {
            resource.route((entry.to)(entry.verb.route()))
        });
        let authorize = move |request, next: Next<BoxBody>| access::authorize(entries, request, next);
        config.service(resource.wrap(from_fn(authorize)));
    }
}

/// The first path of every route, its method, and the scope that it needs.
#[doc(hidden)]
pub fn needed_scopes() -> Vec<(&'static str, &'static str, Option<Scope>)> {
    let method = |entry: &Entry| entry.verb.names().split(',').next().unwrap_or_default();
    TABLE
        .iter()
        .map(|entry| (entry.paths[0], method(entry), entry.needs.scope()))
        .collect()
}

impl Api {
    /// Waits for an answer within the time limit of a request.
    pub(crate) async fn ask<T, E: Into<ApiError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        match timeout(self.config.request_timeout, call).await {
            Ok(answer) => answer.map_err(E::into),
            Err(_) => Err(ApiError::unavailable("the answer took too long; try again in a moment").code("timed_out")),
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
