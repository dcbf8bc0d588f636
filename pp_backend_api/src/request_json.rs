//! The JSON of requests: new works, bulk creation and changed bounds. Each error names the field and its bound, and in
//! an array the item.

use std::fmt;
use std::marker::PhantomData;

use pp_lib::domain::{AddUpTo, Json, KindName, Unique};
use pp_lib::kinds::{Backoff, Policy};
use pp_lib::serving::{CreateWork, requested_args};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

/// The maximum number of items in one request.
pub(crate) const MOST_ITEMS: usize = 1000;

/// An object. Serde would also read a struct from an array of its fields, which is a client error here.
pub(crate) struct Object<T>(pub(crate) T);

/// The body of `POST /work/demand`.
#[derive(Default, serde::Deserialize)]
#[serde(try_from = "DemandedFields")]
pub(crate) struct Demanded {
    pub(crate) kind: KindName,
    pub(crate) args: Option<Json>,
    pub(crate) unique: Option<Unique>,
}

/// A work to demand.
#[derive(serde::Deserialize, JsonSchema)]
#[schemars(rename = "NewDemand")]
#[serde(deny_unknown_fields)]
pub(crate) struct DemandedFields {
    /// While a work of the kind with this text is unfinished, no other begins. At most 255 bytes.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Unique")]
    unique: Option<Unique>,
    /// The last number of a sum. Without it, a sum has a random one from 1 to 99.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "AddUpTo")]
    add_up_to: Option<AddUpTo>,
    /// The kind; a sum unless it is given.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "KindName")]
    kind: Option<KindName>,
    /// The arguments, in place of `add_up_to`: what the schema of the kind allows.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Json")]
    args: Option<Json>,
}

impl TryFrom<DemandedFields> for Demanded {
    type Error = String;

    fn try_from(fields: DemandedFields) -> Result<Self, String> {
        let kind = fields.kind.unwrap_or_default();
        Ok(Self {
            args: requested_args(&kind, fields.add_up_to, fields.args)?,
            kind,
            unique: fields.unique,
        })
    }
}

/// The array in the body of a request: 1 to [`MOST_ITEMS`] objects.
pub(crate) struct Items<T>(pub(crate) Vec<T>);

/// Something of which a request may have an array.
pub(crate) trait Item: for<'de> Deserialize<'de> {
    /// An array of it.
    const EXAMPLE: &'static str;
}

impl Item for CreateWork {
    const EXAMPLE: &'static str = r#"[{"add_up_to":5},{}]"#;
}

/// Other arguments of a work: `add_up_to` of a sum, or `args`.
#[derive(serde::Deserialize, JsonSchema)]
#[schemars(extend("oneOf" = [{ "required": ["add_up_to"] }, { "required": ["args"] }]))]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    /// The last number of a sum.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "AddUpTo")]
    add_up_to: Option<AddUpTo>,
    /// The arguments: what the schema of the kind allows.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Json")]
    args: Option<Json>,
}

impl Update {
    /// The new arguments of a work of this kind.
    pub(crate) fn args(self, kind: &KindName) -> Result<Json, String> {
        let missing = || "missing field `add_up_to`".to_owned();
        requested_args(kind, self.add_up_to, self.args)?.ok_or_else(missing)
    }
}

/// The body of `PATCH /kind/{name}`.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Settings of the policy; `null` takes one back.
    #[schemars(schema_with = "settings_schema")]
    pub(crate) policy: Json,
}

/// The schema of a merge patch of a policy: each setting may be `null`.
fn settings_schema(generator: &mut SchemaGenerator) -> Schema {
    let nullable = |schema: &Value| match schema {
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.remove("default");
            let text = fields.remove("description");
            let mut schema = json!({ "anyOf": [fields, { "type": "null" }] });
            if let Some(text) = text {
                schema["description"] = text;
            }
            schema
        }
        other => other.clone(),
    };
    let optional = |schema: &mut Schema| {
        schema.remove("default");
        schema.remove("description");
        if let Some(Value::Object(settings)) = schema.get_mut("properties") {
            settings.values_mut().for_each(|setting| *setting = nullable(setting));
        }
    };
    let mut backoff = Backoff::json_schema(generator);
    optional(&mut backoff);
    let mut policy = Policy::json_schema(generator);
    if let Some(Value::Object(settings)) = policy.get_mut("properties") {
        settings.insert("backoff".to_owned(), backoff.to_value());
    }
    optional(&mut policy);
    policy
}

/// The body or query of a request without parameters.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// A field that may be omitted but not `null`.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an object, as in {"add_up_to":5}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}

impl<'de, T: Item> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor(PhantomData))
    }
}

struct ItemsVisitor<T>(PhantomData<T>);

impl<'de, T: Item> Visitor<'de> for ItemsVisitor<T> {
    type Value = Items<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of 1 to {MOST_ITEMS} objects, as in {}", T::EXAMPLE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<T>, A::Error> {
        let mut items: Vec<T> = Vec::new();
        loop {
            let index = items.len();
            let item = array.next_element::<Object<T>>();
            let item = item.map_err(|error| de::Error::custom(format!("item {index}: {error}")))?;
            match item {
                Some(_) if index == MOST_ITEMS => return Err(wrong_count::<T, _>("too many items")),
                Some(Object(item)) => items.push(item),
                None if items.is_empty() => return Err(wrong_count::<T, _>("an empty array")),
                None => return Ok(Items(items)),
            }
        }
    }
}

fn wrong_count<T: Item, E: de::Error>(found: &str) -> E {
    E::custom(format!(
        "{found}, expected {}",
        Expected(ItemsVisitor::<T>(PhantomData))
    ))
}

/// What a visitor expects, as text.
struct Expected<V>(V);

impl<'de, V: Visitor<'de>> fmt::Display for Expected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}
