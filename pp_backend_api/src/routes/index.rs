//! `/`: the list of routes.

use actix_web::{HttpResponse, web};
use pp_http::NoQuery;
use serde_json::{Value, json};

use crate::Api;

const ROUTES: [(&str, &str, &str); 43] = [
    (
        "POST",
        "/work",
        "create a work; {\"add_up_to\":n,\"run_at\":seconds} or {\"kind\":name,\"args\":{…}}, or no body for a random bound",
    ),
    (
        "POST",
        "/work/bulk",
        "create 1 to 1000 works, all or none; [{\"add_up_to\":n},{}]",
    ),
    (
        "POST",
        "/work/demand",
        "demand a work, which is created later; works without the database; {\"add_up_to\":n}",
    ),
    ("GET", "/work", "the same as /work/search"),
    (
        "GET",
        "/work/search",
        "search; work_code (prefix), kind, status, done, since, limit, before",
    ),
    ("GET", "/work/{id}", "one work"),
    ("PATCH", "/work/{id}", "give a work another bound; {\"add_up_to\":n}"),
    (
        "POST",
        "/work/{id}/cancel",
        "end a pending or running work; it stays readable",
    ),
    ("POST", "/work/{id}/retry", "start a failed or cancelled work again"),
    ("DELETE", "/work/{id}", "cancel a work and remove it"),
    ("GET", "/work/code/{code}", "one work by its code"),
    (
        "GET",
        "/work/{id}/events",
        "the history of a work, oldest first; after, limit",
    ),
    ("GET", "/kind", "the kinds of works"),
    ("GET", "/kind/{name}", "one kind: its policy, declaration and settings"),
    (
        "PUT",
        "/kind/{name}",
        "declare a kind; {\"policy\":{…},\"delivery\":\"pull\",\"args_schema\":{…}}",
    ),
    (
        "PATCH",
        "/kind/{name}",
        "set or take back (null) settings of its policy; {\"policy\":{\"paused\":true}}",
    ),
    (
        "PUT",
        "/kind/{name}/secret",
        "give a kind the secret that signs what is sent for it; {\"secret\":\"whsec_…\",\"keep_previous\":\"24h\"}, or no body for a random one",
    ),
    (
        "GET",
        "/kind/{name}/worker.py",
        "a worker for a pulled kind, in Python; put your function in and run it",
    ),
    ("GET", "/kind/{name}/worker.mjs", "the same for Node.js"),
    (
        "POST",
        "/run/claim",
        "claim works as their worker, or wait for some; {\"kinds\":[name],\"worker\":name,\"max\":n,\"wait\":\"20s\",\"lease\":\"60s\"}",
    ),
    (
        "POST",
        "/run/heartbeat",
        "go on with a claimed work; {\"run\":token,\"progress\":percent,\"note\":text}, or an array",
    ),
    (
        "POST",
        "/run/complete",
        "end a claimed work with its result; {\"run\":token,\"result\":…}, or an array",
    ),
    (
        "POST",
        "/run/fail",
        "end an attempt without a result; {\"run\":token,\"error\":text,\"permanent\":false,\"retry_after\":\"30s\"}, or an array",
    ),
    (
        "POST",
        "/run/snooze",
        "put a claimed work off; {\"run\":token,\"for\":\"5m\"}, or an array",
    ),
    (
        "GET",
        "/worker",
        "the workers, what they work on and when they were heard of; limit",
    ),
    (
        "GET",
        "/stats",
        "works by status, their throughput, and the newest works; kind",
    ),
    (
        "GET",
        "/work/{id}/stream",
        "the work and its changes, as server-sent events; Last-Event-ID",
    ),
    (
        "GET",
        "/stream",
        "the changes of all works, as server-sent events; work_code (prefix), kind, status; Last-Event-ID",
    ),
    (
        "GET",
        "/stats/stream",
        "the counters as they change, as server-sent events; kind",
    ),
    ("GET", "/live", "a page that shows the counters"),
    (
        "GET",
        "/deadletter",
        "dead letters, newest first; kind, error (prefix), limit, before",
    ),
    (
        "POST",
        "/deadletter/redrive",
        "run dead letters again; ids=1,2,3 or kind, error (prefix) or all=true; dry_run",
    ),
    (
        "DELETE",
        "/deadletter",
        "remove dead letters; ids=1,2,3 or kind, error (prefix) or all=true; dry_run",
    ),
    (
        "POST",
        "/key",
        "make an API key; {\"name\":name,\"scopes\":\"read,create:user.mail\",\"works_per_day\":n}",
    ),
    ("GET", "/key", "the API keys, without their secrets"),
    ("DELETE", "/key/{id}", "end an API key"),
    (
        "GET",
        "/audit",
        "who changed what, newest first; principal, action, limit, before",
    ),
    ("POST", "/session", "sign a browser in; {\"key\":key}"),
    ("DELETE", "/session", "sign a browser out"),
    ("GET", "/health/live", "liveness of the process"),
    ("GET", "/health/ready", "readiness of the process and its parts"),
    (
        "GET",
        "/metrics",
        "metrics of the process, in the text format of Prometheus",
    ),
    ("GET", "/", "this list"),
];

pub(super) async fn index(api: web::Data<Api>, _: NoQuery) -> HttpResponse {
    let prefix = &api.config.prefix;
    let routes: Vec<Value> = ROUTES
        .iter()
        .map(|(method, path, does)| json!({"method": method, "path": format!("{prefix}{path}"), "does": does}))
        .collect();
    HttpResponse::Ok().json(json!({
        "name": "pp_backend_api",
        "version": env!("CARGO_PKG_VERSION"),
        "routes": routes,
    }))
}
