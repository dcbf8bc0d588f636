//! The headers of answers.

use serde_json::{Map, Value, json};

/// Headers of answers.
const HEADERS: &[(&str, &str)] = &[
    ("Allow", "The methods of the path."),
    (
        "Cache-Control",
        "`no-store`, or `no-cache` where the answer has a version.",
    ),
    (
        "Cache-Status",
        "Where a work was read (RFC 9211): the cache or the database.",
    ),
    ("Content-Disposition", "The name of the file."),
    (
        "Content-Security-Policy",
        "The page loads the service's own files alone.",
    ),
    (
        "Cross-Origin-Resource-Policy",
        "Pages of other origins cannot embed the answer.",
    ),
    ("ETag", "The version, for `If-Match` and `If-None-Match`."),
    (
        "Idempotent-Replayed",
        "`true` if this is the answer of an earlier request with the same `Idempotency-Key`.",
    ),
    ("Link", "The next page, with `rel=\"next\"`; absent on the last one."),
    ("Location", "The path of the new work."),
    ("RateLimit", "What may still be sent at once, where `PP_RATE` is set."),
    ("RateLimit-Policy", "The requests in a second, where `PP_RATE` is set."),
    ("Referrer-Policy", "The page tells no other its address."),
    ("Retry-After", "The seconds after which the request may succeed."),
    ("Set-Cookie", "The cookie `pp_key` for further requests of the browser."),
    ("Vary", "`accept`: a browser gets another answer."),
    ("WWW-Authenticate", "`Bearer`: send an API key."),
    ("X-Accel-Buffering", "`no`: a proxy passes each event on."),
    ("X-Content-Type-Options", "`nosniff`."),
    (
        "X-Request-Id",
        "The request's own id, or a new one; it stands in the log too.",
    ),
];

/// The headers of answers.
pub(super) fn headers() -> Value {
    let header = |(name, text): &(&str, &str)| {
        let schema = match *name {
            "Retry-After" => json!({ "type": "integer", "minimum": 0 }),
            _ => json!({ "type": "string" }),
        };
        ((*name).to_owned(), json!({ "description": text, "schema": schema }))
    };
    Value::Object(HEADERS.iter().map(header).collect())
}

/// References to the headers of every answer, and to these.
pub(super) fn answer_headers(more: &[&str]) -> Map<String, Value> {
    const ALL: [&str; 6] = [
        "Cache-Control",
        "Cross-Origin-Resource-Policy",
        "RateLimit",
        "RateLimit-Policy",
        "X-Content-Type-Options",
        "X-Request-Id",
    ];
    let names = ALL.iter().chain(more);
    names
        .map(|name| {
            (
                (*name).to_owned(),
                json!({ "$ref": format!("#/components/headers/{name}") }),
            )
        })
        .collect()
}
