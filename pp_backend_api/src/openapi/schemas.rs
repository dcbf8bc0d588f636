//! The schemas of the document, derived from types. A type may be read otherwise than it is written: then what is read
//! has a schema of its own.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

const ANSWERED: &str = "#/components/schemas/";
/// Where references to what is read lead until all schemas are there.
const REQUESTED: &str = "#/components/requested/";

/// The schemas that were asked for, and those that they refer to.
pub(crate) struct Schemas {
    answered: SchemaGenerator,
    requested: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = |path: &'static str| {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = path.into();
                settings.meta_schema = None;
            })
        };
        Self {
            answered: settings(ANSWERED).for_serialize().into_generator(),
            requested: settings(REQUESTED).for_deserialize().into_generator(),
        }
    }

    /// The schema of what is written.
    pub(super) fn answered<T: JsonSchema>(&mut self) -> Value {
        self.answered.subschema_for::<T>().to_value()
    }

    /// The schema of what is read.
    pub(super) fn requested<T: JsonSchema>(&mut self) -> Value {
        self.requested.subschema_for::<T>().to_value()
    }

    /// The schema of what is read, never a reference.
    pub(super) fn fields_of<T: JsonSchema>(&mut self) -> Value {
        T::json_schema(&mut self.requested).to_value()
    }

    /// Puts the schemas into a document, and names those of its references.
    pub(super) fn finish(mut self, document: &mut Value) {
        let mut schemas = self.answered.take_definitions(true);
        let mut requested = self.requested.take_definitions(true);
        for schema in schemas.values_mut().chain(requested.values_mut()) {
            tidy(schema);
        }
        tidy(document);
        let own = other(&requested, &schemas);
        let name = |name: &str| match own.contains(name) {
            true => format!("{name}Input"),
            false => name.to_owned(),
        };
        for (old, mut schema) in requested {
            rename(&mut schema, &name);
            schemas.insert(name(&old), schema);
        }
        rename(document, &name);
        document["components"]["schemas"] = Value::Object(schemas);
    }
}

/// The names of those that are read otherwise than written, or refer to such.
fn other(requested: &Map<String, Value>, answered: &Map<String, Value>) -> BTreeSet<String> {
    let mut others = BTreeSet::new();
    loop {
        let before = others.len();
        for (name, schema) in requested {
            let mut alike = schema.clone();
            rename(&mut alike, &|name| match others.contains(name) {
                true => format!("{name}Input"),
                false => name.to_owned(),
            });
            if answered.get(name).is_some_and(|answered| *answered != alike) {
                others.insert(name.clone());
            }
        }
        if others.len() == before {
            return others;
        }
    }
}

/// Names the references to what is read.
fn rename(value: &mut Value, name: &impl Fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "$ref" => {
                        if let Some(old) = text.strip_prefix(REQUESTED) {
                            *text = format!("{ANSWERED}{}", name(old));
                        }
                    }
                    value => rename(value, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, name)),
        _ => {}
    }
}

/// Drops the default `null` of fields that may be absent but not `null`, makes a list of what an enumeration has, and takes
/// links out of descriptions.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
            }
            list_values(fields);
            // Links of the documentation of the code.
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Makes an `enum` of an enumeration whose values are described one by one.
fn list_values(fields: &mut Map<String, Value>) {
    let Some(Value::Array(ways)) = fields.get("oneOf") else {
        return;
    };
    let (mut values, mut texts) = (Vec::new(), Vec::new());
    for way in ways {
        let Some(value) = way.get("const").and_then(Value::as_str) else {
            return;
        };
        let text = way.get("description").and_then(Value::as_str).unwrap_or_default();
        texts.push(format!("- `{value}`: {text}"));
        values.push(Value::from(value));
    }
    let about = fields.get("description").and_then(Value::as_str).unwrap_or_default();
    let about = format!("{about}\n\n{}", texts.join("\n"));
    fields.remove("oneOf");
    fields.insert("type".to_owned(), "string".into());
    fields.insert("enum".to_owned(), values.into());
    fields.insert("description".to_owned(), about.into());
}
