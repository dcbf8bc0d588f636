//! `/openapi.json`: the OpenAPI 3.1 document, made from the list of routes and the types that they read and answer.
//!
//! Most of it is made once. What the service knows only while it runs is filled in for each request: the kinds, whether
//! keys are asked for, and the path prefix.

pub(crate) mod examples;
mod headers;
mod kinds;
mod operation;
mod parameters;
mod problems;
mod schemas;

use std::sync::LazyLock;

use pp_lib::kinds::KnownKind;
use serde_json::{Map, Value, json};

use self::schemas::Schemas;
use crate::routes::LIST;

pub(crate) use self::operation::{Operation, Tag};

/// The document without what is known only at run time.
static BASE: LazyLock<Value> = LazyLock::new(base);

/// What the document tells about the service as a whole.
const ABOUT: &str = "\
PP is a work queue behind a REST API.

- Every `GET` is answered to `HEAD` too. Another method is 405 with `Allow`, an unknown path 404.
- Errors are problem details (RFC 9457). `code` is for programs and does not change; `detail` is for people and may.
- A query parameter or a field of a body that is not described is refused. Answers may get further fields.
- Whole numbers are written without a fraction: `2`, not `2.0`.
- Times are Unix seconds. Durations are texts with a unit, as in `30s`; `1m 30s` is read too.
- With `Idempotency-Key`, a request is executed once, and a repeated one gets the answer of the first.
- Pages link to the next page with `Link: <…>; rel=\"next\"`.";

/// The document, with these kinds. Keys are asked for if `asks`, else they are optional.
pub(crate) fn document(kinds: &[KnownKind], asks: bool, prefix: &str) -> Value {
    let mut document = BASE.clone();
    if !prefix.is_empty() {
        document["servers"] = json!([{ "url": prefix }]);
    }
    if !asks {
        let operations = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
        for operation in operations.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            if let Some(Value::Array(ways)) = operation.get_mut("security") {
                ways.insert(0, json!({}));
            }
        }
    }
    kinds::merge(&mut document, kinds);
    document
}

/// The document of a service without kinds of its own.
#[doc(hidden)]
pub fn openapi() -> Value {
    document(&[], true, "")
}

fn base() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for entry in LIST {
        let operation = Operation::of(entry, &mut schemas);
        let path = paths.entry(entry.path()).or_insert_with(|| json!({}));
        path[entry.verb.name().to_lowercase()] = operation;
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "PP",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": Tag::ALL.map(Tag::json),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "pp_…",
                    "description": "An API key. The scopes of an operation stand beside it.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": crate::access::COOKIE_NAME,
                    "description": "The cookie of a browser that signed in with `POST /session`.",
                },
            },
            "parameters": parameters::parameters(),
            "headers": headers::headers(),
            "responses": problems::shared(&mut schemas),
        },
    });
    schemas.finish(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_the_routes_of_the_list_and_no_others() {
        let listed: Vec<(String, String)> = LIST
            .iter()
            .map(|entry| (entry.path(), entry.verb.name().to_lowercase()))
            .collect();
        let document = openapi();
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(|method| (path.clone(), method.clone()))
            })
            .collect();
        assert_eq!(described.len(), listed.len(), "a route is twice in the list");
        assert_eq!(described, listed.into_iter().collect());
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_what_they_do() {
        let document = openapi();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name), "{name} is the name of two operations");
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
                assert!(operation["responses"].as_object().unwrap().len() > 1, "{method} {path}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        let document = openapi();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        for reference in &used {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        for section in ["schemas", "responses", "parameters", "headers"] {
            for name in document["components"][section].as_object().unwrap().keys() {
                let reference = format!("#/components/{section}/{name}");
                assert!(used.contains(&reference), "{reference} is not used");
            }
        }
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
}
