//! The parameters that several routes have: those in paths, and headers of requests.

use serde_json::{Value, json};

use super::schemas::Schemas;
use crate::idempotent::LONGEST as LONGEST_KEY;

/// The parameters in the pattern of a path.
pub(super) fn path_parameters(schemas: &mut Schemas, path: &str) -> Vec<Value> {
    use pp_lib::domain::{ApiKeyId, KindName, WorkCode, WorkId};
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let (schema, text) = match (name, path) {
                ("id", path) if path.starts_with("/key") => (schemas.requested::<ApiKeyId>(), "The id of a key."),
                ("id", _) => (schemas.requested::<WorkId>(), "The id of a work."),
                ("code", _) => (schemas.requested::<WorkCode>(), "The code of a work."),
                ("name", _) => (schemas.requested::<KindName>(), "The name of a kind."),
                ("file", _) => (json!({ "type": "string", "minLength": 1 }), "The path of a file."),
                _ => (json!({ "type": "string" }), ""),
            };
            json!({ "name": name, "in": "path", "required": true, "description": text, "schema": schema })
        })
        .collect()
}

/// The headers of requests that several routes have.
pub(super) fn parameters() -> Value {
    const TAG: &str = r#"(W/)?"[!#-~]*""#;
    let named = |component: &str, name: &str, text: &str, schema: Value| {
        (
            component.to_owned(),
            json!({ "name": name, "in": "header", "description": text, "schema": schema }),
        )
    };
    let parameter = |name: &str, text: &str, schema: Value| named(name, name, text, schema);
    let tags = || json!({ "type": "string", "minLength": 1, "pattern": format!(r"^(\*|{TAG}(, {TAG})*)$") });
    let all = [
        parameter(
            "Idempotency-Key",
            "Executes the request once: a repeated one with this key gets the first one's answer.",
            json!({ "type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!#-~]([ -~]*[!-~])?$" }),
        ),
        parameter("If-Match", "Only at one of these versions, as in `\"1\"`.", tags()),
        parameter("If-None-Match", "Only at none of these versions.", tags()),
        named(
            "If-None-Match-of-reads",
            "If-None-Match",
            "Versions that the client has: the answer is 304 if it is one of them. What is no list of tags is ignored.",
            json!({ "type": "string" }),
        ),
        parameter(
            "Last-Event-ID",
            "The id of an event of this stream: it continues after it.",
            json!({ "type": "string", "maxLength": 8192 }),
        ),
    ];
    Value::Object(all.into_iter().collect())
}
