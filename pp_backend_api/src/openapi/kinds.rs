//! The kinds in the document: their schemas as components, and in the bodies of requests for works.
//!
//! A schema is taken over if it can stand in another document: JSON Schema 2020-12 whose references stay within it.
//! Works of the other kinds are described with any arguments.

use pp_lib::domain::KindName;
use pp_lib::kinds::KnownKind;
use serde_json::{Map, Value, json};

/// The most bytes of all schemas together.
const MOST_BYTES: usize = 256 << 10;
/// The bodies of requests for one work, of any kind.
const BODIES: [&str; 2] = ["NewWork", "NewDemand"];

/// The keywords beneath which a schema keeps what its references lead to.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// Adds the kinds.
pub(super) fn merge(document: &mut Value, kinds: &[KnownKind]) {
    let mut room = MOST_BYTES;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for kind in kinds
        .iter()
        .filter(|kind| kind.is_declared() && !kind.name().is_add_up_to() && !kind.name().is_own())
    {
        let name = kind.name().as_str();
        let declaration = kind.row.declared.as_ref().map(|(declaration, _)| declaration.as_str());
        let declaration: Value = serde_json::from_str(declaration.unwrap_or("null")).unwrap_or_default();
        let mut components = Map::new();
        for (field, part) in [("args_schema", "args"), ("result_schema", "result")] {
            let component = format!("kind.{name}.{part}");
            let schema = declaration.get(field).filter(|schema| fits(schema, &mut room));
            if let Some(schemas) = schema.and_then(|schema| embedded(schema, &component)) {
                for (name, schema) in schemas {
                    document["components"]["schemas"][name] = schema;
                }
                components.insert(part.to_owned(), reference(&component));
            }
        }
        match components.contains_key("args") {
            true => with.push(name),
            false => without.push(name),
        }
        document["x-kinds"][name] = Value::Object(components);
    }
    for body in BODIES {
        specify(&mut document["components"]["schemas"], body, &with, &without);
    }
}

/// Describes the body for a sum, for each kind with a schema, and for the other kinds.
fn specify(schemas: &mut Value, body: &str, with: &[&str], without: &[&str]) {
    let any = schemas[body].clone();
    let mut ways = Vec::new();
    let mut add = |name: String, fields: &[(&str, Value)], required: &[&str], left_out: &[&str]| {
        let mut way = any.clone();
        for (field, schema) in fields {
            let text = way["properties"][field]["description"].take();
            way["properties"][field] = schema.clone();
            way["properties"][field]["description"] = text;
        }
        if let Some(properties) = way["properties"].as_object_mut() {
            properties.retain(|name, _| !left_out.contains(&name.as_str()));
        }
        if !required.is_empty() {
            way["required"] = json!(required);
        }
        ways.push(reference(&name));
        (name, way)
    };
    let bound = any["properties"]["add_up_to"].clone();
    let args = json!({
        "type": "object",
        "required": ["add_up_to"],
        "properties": { "add_up_to": bound },
        "additionalProperties": false,
    });
    let sum = json!({ "type": "string", "const": KindName::ADD_UP_TO });
    let mut described = vec![
        add(format!("{body}.sum"), &[("kind", sum.clone())], &[], &["args"]),
        add(
            format!("{body}.sum_by_args"),
            &[("kind", sum), ("args", args)],
            &["args"],
            &["add_up_to"],
        ),
    ];
    let required = ["kind", "args"];
    for kind in with {
        let fields = [
            ("kind", json!({ "type": "string", "const": kind })),
            ("args", reference(&format!("kind.{kind}.args"))),
        ];
        described.push(add(format!("{body}.{kind}"), &fields, &required, &["add_up_to"]));
    }
    if !without.is_empty() {
        let fields = [("kind", json!({ "type": "string", "enum": without }))];
        described.push(add(format!("{body}.of_kind"), &fields, &required, &["add_up_to"]));
    }
    for (name, way) in described {
        schemas[name] = way;
    }
    schemas[body] = json!({ "description": any["description"], "anyOf": ways });
}

fn reference(component: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{component}") })
}

/// True if there is room for a schema, which it takes.
fn fits(schema: &Value, room: &mut usize) -> bool {
    let rest = room.checked_sub(schema.to_string().len());
    *room = rest.unwrap_or(*room);
    rest.is_some()
}

/// The schema as this component, and its definitions as components of their own. `None` if it cannot stand there.
fn embedded(schema: &Value, component: &str) -> Option<Vec<(String, Value)>> {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut()
        && let Some(dialect) = fields.remove("$schema")
    {
        let dialect = dialect.as_str().unwrap_or_default().trim_end_matches('#');
        if dialect != "https://json-schema.org/draft/2020-12/schema" {
            return None;
        }
    }
    let mut schemas = Vec::new();
    for keyword in DEFINITIONS {
        let definitions = schema.as_object_mut().and_then(|fields| fields.remove(keyword));
        if let Some(Value::Object(definitions)) = definitions {
            schemas.extend(
                definitions
                    .into_iter()
                    .map(|(name, schema)| (format!("{component}.{name}"), schema)),
            );
        }
    }
    schemas.push((component.to_owned(), schema));
    let is_name = |name: &String| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let fits = schemas
        .iter_mut()
        .all(|(name, schema)| is_name(name) && relocated(schema, component));
    fits.then_some(schemas)
}

/// Leads the references of a schema to its new place. False if one of them cannot be led there.
fn relocated(schema: &mut Value, component: &str) -> bool {
    match schema {
        Value::Object(fields) => fields
            .iter_mut()
            .all(|(keyword, value)| match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => {
                    let place = reference.strip_prefix('#').and_then(place);
                    *reference = format!(
                        "#/components/schemas/{component}{}",
                        place.as_deref().unwrap_or_default()
                    );
                    place.is_some()
                }
                ("$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor", _) => false,
                ("const" | "enum" | "default" | "examples", _) => true,
                // Here stand names and no keywords.
                (
                    "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas",
                    Value::Object(named),
                ) => named.values_mut().all(|schema| relocated(schema, component)),
                (_, value) => relocated(value, component),
            }),
        Value::Array(items) => items.iter_mut().all(|schema| relocated(schema, component)),
        _ => true,
    }
}

/// Where a pointer leads, behind the name of the component. `None` for what is no pointer.
fn place(pointer: &str) -> Option<String> {
    let defined = |keyword| pointer.strip_prefix(&format!("/{keyword}/"));
    match DEFINITIONS.iter().find_map(defined) {
        Some(name) => Some(format!(".{name}")),
        None => (pointer.is_empty() || pointer.starts_with('/')).then(|| pointer.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_within_a_schema_lead_to_its_new_place() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": { "$ref": { "$ref": "#/$defs/a" }, "$id": { "const": { "$ref": "#" } } },
            "$defs": { "a": { "items": { "$ref": "#" } } },
        });
        assert_eq!(
            embedded(&schema, "kind.x.args").unwrap(),
            [
                (
                    "kind.x.args.a".to_owned(),
                    json!({ "items": { "$ref": "#/components/schemas/kind.x.args" } })
                ),
                (
                    "kind.x.args".to_owned(),
                    json!({ "properties": {
                        "$ref": { "$ref": "#/components/schemas/kind.x.args.a" },
                        "$id": { "const": { "$ref": "#" } },
                    } })
                ),
            ]
        );
    }

    #[test]
    fn a_schema_that_cannot_be_moved_is_left_out() {
        for schema in [
            json!({ "$schema": "http://json-schema.org/draft-07/schema#" }),
            json!({ "$id": "https://example.com/a" }),
            json!({ "items": { "$ref": "#name" } }),
            json!({ "anyOf": [{ "$anchor": "name" }] }),
            json!({ "$defs": { "a b": {} } }),
            json!({ "$ref": "https://json-schema.org/draft/2020-12/schema" }),
        ] {
            assert_eq!(embedded(&schema, "kind.x.args"), None, "{schema}");
        }
        let all = embedded(&json!(true), "kind.x.args").unwrap();
        assert_eq!(all, [("kind.x.args".to_owned(), json!(true))]);
    }

    #[test]
    fn schemas_have_a_bound_together() {
        let mut room = 10;
        assert!(fits(&json!({}), &mut room) && room == 8);
        assert!(!fits(&json!({ "type": "object" }), &mut room) && room == 8);
    }
}
