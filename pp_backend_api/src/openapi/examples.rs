//! What stands in the document as examples of answers.

use serde_json::{Value, json};

/// The token of a run.
pub(crate) const RUN: &str = "AQAAAAAAAAAHAAAAAQAAAAEZASqFKGUscAAA6mAAAAAAawrajwt0ZXh0LmNvdW50Mg5hcGkt\
    THpFdUtwOFFIMiQwMWEyMjI2NS1iZjNjLTc3ODAtYjk1MS1jZDI5ZGVmNTMwZjA";

/// The beginning of `/stream`.
pub(crate) const STREAM: &str = "\
retry: 1000

event: start
id: 1764-9021:77
data: {}

id: 1764-9022:78
data: {\"id\":78,\"work_id\":2,\"work_code\":\"api-yUgaxXzwm6\",\"variable\":\"compute/result\",\"value\":\"15\",\
\"status\":\"done\",\"created_on\":1795199548}
";

/// The beginning of `/work/{id}/stream`.
pub(crate) const WORK_STREAM: &str = "\
retry: 1000

event: work
id: 1764-9021:77
data: {\"id\":2,\"work_code\":\"api-yUgaxXzwm6\",\"add_up_to\":5,\"done\":false,\"created_on\":1795199548,\
\"updated_on\":1795199548,\"status\":\"pending\",\"result\":null,\"version\":1,\"kind\":\"add_up_to\"}
";

/// The beginning of `/stats/stream`.
pub(crate) const STATS_STREAM: &str = "retry: 1000\n\nevent: stats\ndata: {\"works\":{…},\"backlog\":0,…}\n";

/// A sum in this status.
fn sum(status: &str, result: Value, version: u32) -> Value {
    json!({
        "id": 2,
        "work_code": "api-yUgaxXzwm6",
        "add_up_to": 5,
        "done": status == "done",
        "created_on": 1_795_199_548,
        "updated_on": 1_795_199_548,
        "status": status,
        "result": result,
        "version": version,
        "kind": "add_up_to",
    })
}

pub(crate) fn work() -> Value {
    sum("pending", Value::Null, 1)
}

pub(crate) fn done_work() -> Value {
    sum("done", 15.into(), 2)
}

pub(crate) fn cancelled_work() -> Value {
    sum("cancelled", Value::Null, 2)
}

pub(crate) fn demanded_work() -> Value {
    let mut work = sum("pending", Value::Null, 0);
    work["id"] = Value::Null;
    work
}

pub(crate) fn event() -> Value {
    json!({
        "id": 8,
        "work_code": "api-yUgaxXzwm6",
        "variable": "compute/result",
        "value": "15",
        "created_on": 1_795_199_548,
    })
}

pub(crate) fn declaration() -> Value {
    json!({
        "delivery": "pull",
        "policy": { "max_attempts": 3, "timeout": "30s", "retention": "90d" },
        "args_schema": { "type": "object", "required": ["text"], "properties": { "text": { "type": "string" } } },
    })
}

pub(crate) fn kind() -> Value {
    json!({
        "name": "text.count",
        "is_declared": true,
        "has_worker": true,
        "worker_seen_on": 1_795_199_548,
        "works": { "pending": 0, "running": 1, "done": 7, "failed": 0, "cancelled": 0 },
        "delivery": "pull",
        "policy": {
            "max_attempts": 3,
            "backoff": { "base": "1s", "factor": 2.0, "cap": "10m", "jitter": 0.5 },
            "timeout": "30s",
            "lease": "4s",
            "places": 100,
            "paused": false,
            "retention": "90d",
        },
        "overrides": {},
        "declared": declaration(),
        "declared_on": 1_795_199_000,
        "version": 1,
    })
}

pub(crate) fn claims() -> Value {
    json!({ "runs": [{
        "run": RUN,
        "id": 7,
        "work_code": "api-yUgaxXzwm6",
        "kind": "text.count",
        "args": { "text": "to be or not to be" },
        "attempt": 1,
        "idempotency_key": "text.count/0198c6f0-7d43-7c5e-8f4e-5a2d3b1c0e9f/1",
        "lease_until": 1_795_199_608,
    }] })
}

pub(crate) fn worker() -> Value {
    json!({
        "name": "py-1",
        "kinds": ["text.count"],
        "is_there": true,
        "since": 1_795_199_000,
        "seen_on": 1_795_199_548,
        "works": [{
            "id": 7,
            "work_code": "api-yUgaxXzwm6",
            "kind": "text.count",
            "attempt": 1,
            "since": 1_795_199_540,
            "seen_on": 1_795_199_548,
            "lease_until": 1_795_199_608,
            "progress": 40,
        }],
    })
}

pub(crate) fn stats() -> Value {
    let none = json!({ "pending": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0 });
    json!({
        "works": { "api": { "pending": 0, "running": 0, "done": 2, "failed": 0, "cancelled": 0 }, "consumer": none, "app": none },
        "works_per_second": { "over_1s": 2.0, "over_60s": 0.03 },
        "latency_ms": { "p50": 11.0, "p99": 14.6 },
        "backlog": 0,
        "scheduled": 0,
        "newest": [done_work()],
    })
}

pub(crate) fn letter() -> Value {
    json!({
        "id": 3,
        "work_id": 7,
        "work_code": "api-yUgaxXzwm6",
        "message_id": "0198c6f0-7d43-7c5e-8f4e-5a2d3b1c0e9f",
        "body": null,
        "body_bytes": null,
        "reason": "no such address",
        "attempts": 3,
        "demanded_on": 1_795_199_548,
        "created_on": 1_795_199_600,
        "redriven": false,
        "kind": "text.count",
    })
}

pub(crate) fn key() -> Value {
    json!({
        "id": 3,
        "name": "deploy",
        "scopes": "read,create:user.mail",
        "works_per_day": 1000,
        "created_on": 1_795_199_548,
        "created_by": "key:1 admin",
    })
}

pub(crate) fn new_key() -> Value {
    let mut key = key();
    key["key"] = "pp_…".into();
    key
}

pub(crate) fn audit() -> Value {
    json!({
        "id": 12,
        "created_on": 1_795_199_548,
        "principal": "key:3 deploy",
        "action": "work.cancel",
        "subject": "work/7",
        "details": {},
    })
}
