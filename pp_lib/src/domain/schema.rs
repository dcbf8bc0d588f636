//! JSON Schemas of what the domain writes and reads by hand, for the description of the API.
//!
//! Types whose JSON is derived have derived schemas too.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    AddUpTo, ApiKeyId, DeadLetterId, Json, KeyLabel, KindName, Scopes, SigningSecret, Status, Unique, WebUrl, Work,
    WorkCode, WorkCodePrefix, WorkId, WorkerName, WorksPerDay,
};

/// Schemas that stand where they are used.
macro_rules! inline {
    ($($type:ident = $schema:tt;)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

inline! {
    AddUpTo = { "type": "integer", "format": "int32", "minimum": Self::MIN.get(), "maximum": Self::MAX.get() };
    ApiKeyId = { "type": "integer", "format": "int64", "minimum": 1 };
    DeadLetterId = { "type": "integer", "format": "int64", "minimum": 1 };
    Json = {};
    KeyLabel = {
        "type": "string",
        "minLength": 1,
        "maxLength": Self::MAX_LENGTH,
        "pattern": r"^[^\x00-\x20\x7f-\xa0]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0])?$",
    };
    KindName = { "type": "string", "maxLength": Self::MAX_LENGTH, "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$" };
    Scopes = {
        "type": "string",
        "pattern": r"^(read|operate|admin|(create|work)(:[a-z0-9_]+(\.[a-z0-9_]+)*)?)(,(read|operate|admin|(create|work)(:[a-z0-9_]+(\.[a-z0-9_]+)*)?))*$",
    };
    SigningSecret = { "type": "string", "pattern": "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$" };
    Unique = { "type": "string", "minLength": 1, "maxLength": Self::MAX_LENGTH, "pattern": r"^[^\x00]*$" };
    WebUrl = {
        "type": "string",
        "maxLength": Self::MAX_LENGTH,
        "pattern": Self::PATTERN,
    };
    WorkCode = { "type": "string", "pattern": "^(api|app|consumer)-[A-Za-z0-9]{10}$" };
    WorkCodePrefix = { "type": "string", "maxLength": Self::MAX_LENGTH, "pattern": r"^[^\x00]*$" };
    WorkId = { "type": "integer", "format": "int64", "minimum": 1 };
    WorksPerDay = { "type": "integer", "format": "int64", "minimum": 1, "maximum": Self::MOST };
}

impl JsonSchema for WorkerName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WorkerName".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // Names that nobody can choose are shown too.
        let pattern = match generator.contract().is_serialize() {
            true => r"^(consumer:)?[A-Za-z0-9._@/-]+$",
            false => "^[A-Za-z0-9._@-]+$",
        };
        json_schema!({ "type": "string", "minLength": 1, "maxLength": Self::MAX_LENGTH, "pattern": pattern })
    }
}

impl JsonSchema for Work {
    fn schema_name() -> Cow<'static, str> {
        "Work".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let id = generator.subschema_for::<WorkId>();
        of_work(generator, "A work.", &id)
    }
}

/// The schema of a work's JSON, with another one for its id.
pub(crate) fn of_work(generator: &mut SchemaGenerator, description: &str, id: &Schema) -> Schema {
    json_schema!({
        "description": description,
        "type": "object",
        "required": ["id", "work_code", "done", "created_on", "updated_on", "status", "result", "version", "kind"],
        "properties": {
            "id": id,
            "work_code": generator.subschema_for::<WorkCode>(),
            "add_up_to": described::<AddUpTo>(generator, "The last number of a sum; works of other kinds have `args`."),
            "kind": generator.subschema_for::<KindName>(),
            "args": { "description": "The arguments, unless it is a sum: any JSON." },
            "done": { "type": "boolean", "description": "True exactly when the status is `done`." },
            "created_on": moment("Unix second of its creation."),
            "updated_on": moment("Unix second of its last change."),
            "status": generator.subschema_for::<Status>(),
            "result": { "description": "The result, once it is done: any JSON." },
            "version": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "Grows by one with each change of this JSON; `ETag` is this number in quotes.",
            },
            "run_at": moment("Unix second from which it may run, if it was scheduled."),
            "unique": described::<Unique>(
                generator,
                "While it is unfinished, no other work of its kind with this text begins.",
            ),
            "error": { "type": "string", "description": "Why the last attempt failed." },
            "attempt": {
                "type": "integer",
                "format": "int32",
                "minimum": 2,
                "description": "The attempt, from the second one on.",
            },
            "progress": {
                "type": "integer",
                "minimum": 0,
                "maximum": 100,
                "description": "How far it is in percent, while it is running and its worker says so.",
            },
            "note": { "type": "string", "description": "The worker's words for the progress." },
            "duplicate": {
                "const": true,
                "type": "boolean",
                "description": "The request made no work: this one is unfinished and has the same `unique`.",
            },
        },
    })
}

fn described<T: JsonSchema>(generator: &mut SchemaGenerator, description: &str) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    schema.insert("description".to_owned(), description.into());
    schema
}

fn moment(description: &str) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "description": description })
}
