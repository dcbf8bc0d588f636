//! The descriptions of the health pages, whose handlers are those of `pp_http`.

use pp_lib::domain::Problem;
use pp_lib::runtime::{PartReport, Readiness, Report};
use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::openapi::{Operation, Tag};

/// Describes `GET /health/live`.
pub(super) fn live_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_liveness", Tag::Service)
        .text("503 if no task of the process has run for a while; only a restart helps then. It needs no key.")
        .json::<Live>(200, "The process makes progress.", json!({ "status": "live" }))
}

/// Describes `GET /health/ready`.
pub(super) fn ready_operation(operation: Operation<'_>) -> Operation<'_> {
    operation
        .named("get_readiness", Tag::Service)
        .text("200 while every promised call can be served, also slowly; else 503 with the parts in trouble.")
        .json::<Report>(200, "Every promised call can be served.", example())
        .problem_of::<NotReady>(503, "A promised call cannot be served.")
}

fn example() -> Value {
    json!({
        "status": "degraded",
        "parts": [
            { "name": "store", "state": "up", "essential": true },
            { "name": "cache", "state": "down", "reason": "it does not answer", "essential": false },
        ],
    })
}

/// The body of `/health/live`.
#[derive(JsonSchema)]
#[schemars(rename = "Liveness")]
#[allow(dead_code, reason = "the handler is in another crate")]
struct Live {
    /// `live`.
    status: String,
}

/// The problem of a process that is not ready.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "the handler is in another crate")]
struct NotReady {
    #[schemars(flatten)]
    problem: Problem,
    /// The readiness.
    readiness: Readiness,
    /// The parts in the order of their registration.
    parts: Vec<PartReport>,
}
