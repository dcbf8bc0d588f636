//! The routes and their shared parts.

mod changes;
mod dead_letters;
mod demand;
mod docs;
mod health;
mod index;
mod keys;
mod kinds;
mod list;
mod metrics;
mod openapi;
mod route;
mod run_bodies;
mod runs;
mod search;
mod stats;
mod streams;
mod ui;
mod worker_files;
mod works;

use std::future::Future;
use std::sync::LazyLock;

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
use crate::openapi::Operation;

pub(crate) use self::list::LIST;
pub(crate) use self::route::Route;

/// A method of a path, what it needs, its handler, its description, and what it does in one line.
pub(crate) struct Entry {
    pub(crate) paths: &'static [&'static str],
    pub(crate) verb: Verb,
    pub(crate) needs: Needs,
    to: fn(actix_web::Route) -> actix_web::Route,
    /// Completes its operation in the OpenAPI document.
    pub(crate) operation: fn(Operation<'_>) -> Operation<'_>,
    does: &'static str,
}

impl Entry {
    /// Its first path, with the names of its parameters.
    pub(crate) fn path(&self) -> String {
        self.paths[0].replace(":.+", "")
    }

    /// What it does, without its parameters.
    pub(crate) fn summary(&self) -> String {
        let does = self.does.split(';').next().unwrap_or_default();
        let (first, rest) = does.split_at(does.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    }
}

/// The methods that routes have, in the order of `Allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The method, GET for both that read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "GET",
            other => other.names(),
        }
    }
}

/// The entries of every path, those of a path together.
static RESOURCES: LazyLock<Vec<Vec<&'static Entry>>> = LazyLock::new(|| {
    let mut resources: Vec<Vec<&'static Entry>> = Vec::new();
    for entry in LIST {
        match resources.iter_mut().find(|entries| entries[0].paths == entry.paths) {
            Some(entries) => entries.push(entry),
            None => resources.push(vec![entry]),
        }
    }
    resources
        .iter_mut()
        .for_each(|entries| entries.sort_by_key(|entry| entry.verb));
    resources
});

/// Mounts the routes of the list.
pub(crate) fn configure(config: &mut ServiceConfig) {
    for entries in &*RESOURCES {
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
    LIST.iter()
        .map(|entry| (entry.paths[0], entry.verb.name(), entry.needs.scope()))
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
