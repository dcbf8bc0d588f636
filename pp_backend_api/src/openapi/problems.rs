//! Errors in the document: the statuses with their codes, and which routes answer them.

use actix_web::http::StatusCode;
use pp_lib::domain::Problem;
use serde_json::{Map, Value, json};

use super::headers::answer_headers;
use super::schemas::Schemas;

/// A status with its codes that many routes answer.
struct Shared {
    name: &'static str,
    status: u16,
    codes: &'static [&'static str],
    text: &'static str,
}

const SHARED: &[Shared] = &[
    Shared {
        name: "InvalidRequest",
        status: 400,
        codes: &["invalid_request"],
        text: "The request, a parameter or a header is malformed, or the parameter is unknown.",
    },
    Shared {
        name: "Unauthorized",
        status: 401,
        codes: &["unauthorized", "invalid_key"],
        text: "There is no API key, or it is not valid.",
    },
    Shared {
        name: "Forbidden",
        status: 403,
        codes: &["forbidden", "missing_scope", "other_origin"],
        text: "The key lacks a scope, or a page of another origin would change something.",
    },
    Shared {
        name: "NotFound",
        status: 404,
        codes: &["not_found"],
        text: "There is no such thing.",
    },
    Shared {
        name: "MethodNotAllowed",
        status: 405,
        codes: &["method_not_allowed"],
        text: "Another method of this path; `Allow` has those there are.",
    },
    Shared {
        name: "TooSlow",
        status: 408,
        codes: &["request_too_slow"],
        text: "The request took longer than `PP_REQUEST_TIMEOUT`.",
    },
    Shared {
        name: "OtherVersion",
        status: 412,
        codes: &["other_version"],
        text: "The version is not the one of `If-Match`, or is that of `If-None-Match`.",
    },
    Shared {
        name: "BodyTooLarge",
        status: 413,
        codes: &["body_too_large"],
        text: "The body is longer than `PP_BODY_LIMIT`.",
    },
    Shared {
        name: "TargetTooLong",
        status: 414,
        codes: &["target_too_long"],
        text: "The target of the request is too long.",
    },
    Shared {
        name: "UnsupportedMediaType",
        status: 415,
        codes: &["unsupported_media_type"],
        text: "The body is not `application/json`, or is encoded.",
    },
    Shared {
        name: "UnknownHost",
        status: 421,
        codes: &["unknown_host"],
        text: "The service does not answer to this `Host`.",
    },
    Shared {
        name: "TooManyRequests",
        status: 429,
        codes: &["too_many_requests"],
        text: "The key or the address sends more requests than `PP_RATE`.",
    },
    Shared {
        name: "HeadTooLarge",
        status: 431,
        codes: &["head_too_large"],
        text: "The headers are too large or too many.",
    },
    Shared {
        name: "Internal",
        status: 500,
        codes: &["internal"],
        text: "An internal error; the log of the service has its cause.",
    },
    Shared {
        name: "Unavailable",
        status: 503,
        codes: &[
            "unavailable",
            "overloaded",
            "timed_out",
            "stopping",
            "no_room",
            "too_many_connections",
            "too_many_streams",
            "database_unavailable",
            "database_unwell",
            "database_damaged",
            "outdated",
            "cache_unavailable",
            "cache_not_shared",
            "broker_unavailable",
        ],
        text: "The same request may succeed later.",
    },
];

/// The components of responses.
pub(super) fn shared(schemas: &mut Schemas) -> Value {
    let shared = SHARED.iter().map(|shared| {
        let response = response(schemas, shared.status, shared.codes, shared.text);
        (shared.name.to_owned(), response)
    });
    Value::Object(shared.collect())
}

/// A reference to the shared response of a status.
pub(super) fn shared_response(status: u16) -> Option<Value> {
    let shared = SHARED.iter().find(|shared| shared.status == status)?;
    Some(json!({ "$ref": format!("#/components/responses/{}", shared.name) }))
}

/// An error with these codes.
pub(super) fn response(schemas: &mut Schemas, status: u16, codes: &[&str], text: &str) -> Value {
    let mut schema = schemas.answered::<Problem>();
    schema["properties"] = json!({ "status": { "const": status }, "code": { "enum": codes } });
    let title = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let example = Problem::new(status, title.unwrap_or_default(), text).with_code(codes.first().copied());
    let mut headers: Map<String, Value> = answer_headers(&[]);
    let mut header = |name: &str| {
        headers.insert(
            name.to_owned(),
            json!({ "$ref": format!("#/components/headers/{name}") }),
        );
    };
    match status {
        401 => header("WWW-Authenticate"),
        405 => header("Allow"),
        409 | 429 | 503 => header("Retry-After"),
        _ => {}
    }
    json!({
        "description": text,
        "headers": headers,
        "content": { Problem::CONTENT_TYPE: {
            "schema": schema,
            "example": example,
        } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_response_has_the_code_of_its_status() {
        for Shared { status, codes, .. } in SHARED {
            assert_eq!(codes[0], Problem::code_of(*status));
        }
    }
}
