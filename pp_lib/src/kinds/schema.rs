//! JSON Schema for arguments.

use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::domain::{Fault, Json, WebUrl};

/// The most faults that one check names.
const MOST_FAULTS: usize = 10;
/// The longest sentence about a fault, in bytes. It may repeat a value.
const LONGEST_DETAIL: usize = 200;
/// The longest schema, in bytes.
const MAX_LENGTH: usize = 64 << 10;

/// The schema of a URL.
pub(super) fn url(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "maxLength": WebUrl::MAX_LENGTH, "pattern": WebUrl::PATTERN })
}

/// A schema that arguments are checked against. A clone shares it.
#[derive(Clone, Debug)]
pub struct Schema(Arc<Validator>);

impl Schema {
    /// The schema in this JSON. It cannot refer to other documents.
    ///
    /// # Errors
    /// It is no JSON Schema, or longer than 64 KiB; a sentence for the client.
    pub fn new(schema: &Json) -> Result<Self, String> {
        if schema.as_str().len() > MAX_LENGTH {
            return Err(format!("a schema has at most {MAX_LENGTH} bytes"));
        }
        let schema: Value = serde_json::from_str(schema.as_str()).map_err(|error| error.to_string())?;
        // Patterns of this engine take linear time.
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let validator = options.build(&schema).map_err(|error| shortened(error.to_string()))?;
        Ok(Self(Arc::new(validator)))
    }

    /// The faults of arguments, at most ten.
    pub fn faults(&self, args: &Json) -> Vec<Fault> {
        match serde_json::from_str(args.as_str()) {
            Ok(args) => (self.0.iter_errors(&args).take(MOST_FAULTS))
                .map(|error| Fault {
                    pointer: error.instance_path().to_string(),
                    detail: shortened(error.to_string()),
                })
                .collect(),
            // The scanner has accepted it: then it has a number beyond what can be checked.
            Err(error) => vec![Fault {
                pointer: String::new(),
                detail: shortened(format!("it cannot be checked against the schema: {error}")),
            }],
        }
    }
}

/// The schema of a schema, as far as OpenAPI has one.
pub(super) fn shape(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["object", "boolean"] })
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_DETAIL));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::accepted(text)
    }

    #[test]
    fn each_fault_has_a_pointer() {
        let schema = r#"{"type":"object","required":["to"],"additionalProperties":false,
            "properties":{"to":{"type":"string","pattern":"@"},"cc":{"type":"array","items":{"type":"string"}}}}"#;
        let schema = Schema::new(&json(schema)).unwrap();
        assert_eq!(schema.faults(&json(r#"{"to":"a@b","cc":["x"]}"#)), []);
        let faults = schema.faults(&json(r#"{"to":"a","cc":["x",3]}"#));
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/cc/1", "/to"], "{faults:?}");
        assert_eq!(schema.faults(&json("{}"))[0].pointer, "");
        assert!(
            schema.faults(&json(r#"{"to":"a@b","x":1e400}"#))[0]
                .detail
                .contains("cannot be checked")
        );
    }

    #[test]
    fn what_is_no_schema_or_refers_to_others_is_refused() {
        for bad in [
            r#"{"type":"text"}"#,
            r#"{"$ref":"https://example.com/schema.json"}"#,
            r#"{"pattern":"("}"#,
            "3",
            &format!(r#"{{"title":"{}"}}"#, "x".repeat(MAX_LENGTH)),
        ] {
            assert!(Schema::new(&json(bad)).is_err(), "{:.40}", bad);
        }
    }
}
