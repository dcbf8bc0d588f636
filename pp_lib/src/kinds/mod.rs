//! The kinds of works: the code that does them, how each is handled, what its arguments must be, and which there are.
//!
//! A user's [`Kind`] is a type with its arguments and its code.
//! A program declares the kinds that it has handlers for. An operator sets single settings over the declared policy;
//! they stay when the program declares again. The store keeps both as JSON, which is given its form here.

mod context;
mod duration;
mod failure;
mod handler;
mod kind;
pub(crate) mod metrics;
mod naming;
mod outcome;
mod policy;
mod registry;
mod schema;
mod sum;

use schemars::JsonSchema;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use context::Outlet;
pub use context::{Context, EnqueueError};
pub use duration::duration_schema;
pub(crate) use failure::Ending;
pub use failure::Failure;
pub use handler::{HandledKind, Handler, Handling, Kinds};
#[cfg(feature = "testing")]
pub(crate) use kind::name_of;
pub use kind::{BlockingKind, BlockingState, Kind};
pub(crate) use metrics::EndMeter;
pub use policy::{Backoff, Policy, Retention, bounded_duration};
pub use registry::{Registry, Unchanged, UnknownKind, list, set_policy};
pub use schema::Schema;
pub use sum::{Pace, Sum};

use crate::domain::{ByStatus, Fault, Json, KindName, WebUrl};
use crate::store::KindRow;

/// The way in which works of a kind come to those who do them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Through the broker, to a handler in a consumer.
    #[default]
    Queue,
    /// Workers claim them over HTTP. They pass no broker.
    Pull,
    /// A consumer claims them and sends them to a URL. They pass no broker.
    Push,
}

impl Delivery {
    /// True if works are claimed from their rows and pass no broker.
    pub fn is_claimed(self) -> bool {
        self != Self::Queue
    }
}

/// What a program says of a kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Declaration {
    /// How works of the kind are handled.
    pub policy: Policy,
    /// The way to those who do them.
    pub delivery: Delivery,
    /// The URL that pushed works are sent to.
    #[schemars(schema_with = "schema::url")]
    pub push_url: Option<WebUrl>,
    /// JSON Schema of the arguments.
    #[serde(deserialize_with = "schema")]
    #[schemars(schema_with = "schema::shape")]
    pub args_schema: Option<Json>,
    /// JSON Schema of the result, for readers: results are not checked against it.
    #[serde(deserialize_with = "schema")]
    #[schemars(schema_with = "schema::shape")]
    pub result_schema: Option<Json>,
}

impl Declaration {
    /// The longest declaration, in bytes.
    pub const MAX_LENGTH: usize = 128 << 10;

    /// A declaration of this policy, without schemas.
    pub fn of_policy(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Fails unless a pushed kind, and no other, has a URL; a sentence for the client.
    pub fn check(&self) -> Result<(), &'static str> {
        match (self.delivery, &self.push_url) {
            (Delivery::Push, None) => Err("a pushed kind needs a `push_url`"),
            (Delivery::Queue | Delivery::Pull, Some(_)) => Err("`push_url` needs `\"delivery\":\"push\"`"),
            (_, _) => Ok(()),
        }
    }

    /// The JSON that the store keeps.
    pub fn json(&self) -> Json {
        Json::accepted(serde_json::to_string(self).unwrap_or_default())
    }

    fn of_json(json: &Json) -> Result<Self, String> {
        serde_json::from_str(json.as_str()).map_err(|error| error.to_string())
    }
}

impl Serialize for Declaration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut declaration = serializer.serialize_map(None)?;
        declaration.serialize_entry("policy", &self.policy)?;
        if self.delivery != Delivery::Queue {
            declaration.serialize_entry("delivery", &self.delivery)?;
        }
        if let Some(url) = &self.push_url {
            declaration.serialize_entry("push_url", url)?;
        }
        for (name, schema) in [
            ("args_schema", &self.args_schema),
            ("result_schema", &self.result_schema),
        ] {
            if let Some(schema) = schema {
                declaration.serialize_entry(name, schema)?;
            }
        }
        declaration.end()
    }
}

fn schema<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    let schema = Json::deserialize(deserializer)?;
    Schema::new(&schema).map_err(serde::de::Error::custom)?;
    Ok(Some(schema))
}

/// A kind with its policy in force.
#[derive(Clone, Debug)]
pub struct KnownKind {
    /// What the store has of it.
    pub row: KindRow,
    /// The declared policy under the operator's settings.
    pub policy: Policy,
    /// The way of its works to those who do them.
    pub delivery: Delivery,
    /// The URL that its works are sent to.
    pub push_url: Option<WebUrl>,
    /// The number of its works in each status, where that was asked for.
    pub works: Option<ByStatus>,
    /// What is wrong with the stored declaration or settings: a newer program's, by hand, or the name of a queue that
    /// another kind has.
    pub fault: Option<String>,
    args_schema: Option<Schema>,
}

impl KnownKind {
    /// The kind of a row. What cannot be read of it counts as absent.
    pub fn of_row(row: KindRow) -> Self {
        let declared = row.declared.as_ref().map(|(json, _)| Declaration::of_json(json));
        let (declared, fault) = match declared.unwrap_or_else(|| Ok(Declaration::default())) {
            Ok(declared) => (declared, None),
            Err(fault) => (Declaration::default(), Some(fault)),
        };
        let (policy, fault) = match declared.policy.with(&row.overrides) {
            Ok(policy) => (policy, fault),
            Err(why) => (declared.policy, Some(why)),
        };
        let args_schema = declared.args_schema.and_then(|schema| Schema::new(&schema).ok());
        Self {
            row,
            policy,
            delivery: declared.delivery,
            push_url: declared.push_url,
            works: None,
            fault,
            args_schema,
        }
    }

    /// Its name.
    pub fn name(&self) -> &KindName {
        &self.row.name
    }

    /// True if its works are taken and sent: somebody has declared it, or it is built in.
    pub fn is_declared(&self) -> bool {
        self.row.declared.is_some() || self.row.name.is_add_up_to()
    }

    /// The faults of arguments, at most ten.
    pub fn faults(&self, args: &Json) -> Vec<Fault> {
        self.args_schema
            .as_ref()
            .map(|schema| schema.faults(args))
            .unwrap_or_default()
    }

    /// The overrides after a change in the form of a JSON merge patch (RFC 7396): `null` takes a setting back.
    ///
    /// # Errors
    /// The change names an unknown setting or a value out of its bounds; a sentence for the client.
    pub fn overridden(&self, change: &Json) -> Result<Json, String> {
        let overrides = policy::merged(&self.row.overrides, change)?;
        Policy::DEFAULT.with(&overrides)?;
        Ok(overrides)
    }

    /// What is wrong with the names of queues under other settings, if these change the names.
    fn misnamed(&self, overrides: &Json, kinds: &[Self]) -> Option<String> {
        let changed = Self::of_row(KindRow {
            overrides: overrides.clone(),
            ..self.row.clone()
        });
        let names = |kind: &Self| (kind.policy.queue.clone(), kind.policy.dead_letter_queue.clone());
        let fault = naming::fault(self.name(), &changed.policy, kinds);
        fault.filter(|_| names(&changed) != names(self))
    }
}

#[cfg(feature = "openapi")]
impl JsonSchema for KnownKind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let moment =
            |description| schemars::json_schema!({ "type": "integer", "format": "int64", "description": description });
        schemars::json_schema!({
            "description": "A kind of works.",
            "type": "object",
            "required": [
                "name", "is_declared", "has_worker", "worker_seen_on", "delivery", "policy", "overrides", "version",
            ],
            "properties": {
                "name": generator.subschema_for::<KindName>(),
                "is_declared": { "type": "boolean", "description": "True if its works are taken." },
                "has_worker": { "type": "boolean", "description": "True if a worker was heard of a short time ago." },
                "worker_seen_on": {
                    "type": ["integer", "null"],
                    "format": "int64",
                    "description": "Unix second in which a worker was heard of last.",
                },
                "works": generator.subschema_for::<ByStatus>(),
                "delivery": generator.subschema_for::<Delivery>(),
                "push_url": schema::url(generator),
                "has_secret": { "type": "boolean", "description": "True if what is sent for it is signed." },
                "policy": generator.subschema_for::<Policy>(),
                "overrides": { "type": "object", "description": "An operator's settings of the policy." },
                "declared": { "type": "object", "description": "The declaration in force." },
                "declared_on": moment("Unix second of the declaration."),
                "replaced": { "type": "object", "description": "The declaration before it." },
                "replaced_on": moment("Unix second of that one."),
                "fault": { "type": "string", "description": "What of it cannot be used, and why." },
                "version": { "type": "integer", "format": "int64", "description": "`ETag` is this number in quotes." },
            },
        })
    }
}

impl Serialize for KnownKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = &self.row;
        let mut kind = serializer.serialize_map(None)?;
        kind.serialize_entry("name", &row.name)?;
        kind.serialize_entry("is_declared", &self.is_declared())?;
        kind.serialize_entry("has_worker", &row.has_worker)?;
        kind.serialize_entry("worker_seen_on", &row.worker_seen_on)?;
        if let Some(works) = &self.works {
            kind.serialize_entry("works", works)?;
        }
        kind.serialize_entry("delivery", &self.delivery)?;
        if let Some(url) = &self.push_url {
            kind.serialize_entry("push_url", url)?;
        }
        if row.has_secret {
            kind.serialize_entry("has_secret", &true)?;
        }
        kind.serialize_entry("policy", &self.policy)?;
        kind.serialize_entry("overrides", &row.overrides)?;
        for (name, date, declaration) in [
            ("declared", "declared_on", &row.declared),
            ("replaced", "replaced_on", &row.replaced),
        ] {
            if let Some((declaration, on)) = declaration {
                kind.serialize_entry(name, declaration)?;
                kind.serialize_entry(date, on)?;
            }
        }
        if let Some(fault) = &self.fault {
            kind.serialize_entry("fault", fault)?;
        }
        kind.serialize_entry("version", &row.version)?;
        kind.end()
    }
}
