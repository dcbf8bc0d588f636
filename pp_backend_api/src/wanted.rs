//! The JSON of requests: new works, bulk creation and changed bounds. Each error names the field and its bound, and in
//! an
//! array the item.

use std::fmt;
use std::marker::PhantomData;

use pp_lib::domain::AddUpTo;
use pp_lib::serving::{Wanted, latest_run_at};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

/// The maximum number of works in one request.
pub(crate) const MOST_WORKS: usize = 1000;

/// An object. Serde would also read a struct from an array of its fields, which is a client error here.
pub(crate) struct Object<T>(pub(crate) T);

/// The body of `POST /work`, and an item of `POST /work/bulk`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    #[serde(default, deserialize_with = "given")]
    add_up_to: Option<AddUpTo>,
    #[serde(default, deserialize_with = "given_moment")]
    run_at: Option<i64>,
}

/// The body of `POST /work/demand`.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Demanded {
    #[serde(default, deserialize_with = "given")]
    pub(crate) add_up_to: Option<AddUpTo>,
}

/// The body of `POST /work/bulk`.
pub(crate) struct Bulk(pub(crate) Vec<Wanted>);

/// The body of `PATCH /work/{id}`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    pub(crate) add_up_to: AddUpTo,
}

/// The body or query of a request without parameters.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

impl From<Create> for Wanted {
    fn from(create: Create) -> Self {
        let Create { add_up_to, run_at } = create;
        Self { add_up_to, run_at }
    }
}

/// A field that may be omitted but not `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AddUpTo>, D::Error> {
    AddUpTo::deserialize(deserializer).map(Some)
}

fn given_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let latest = latest_run_at();
    deserializer.deserialize_i64(MomentVisitor { latest }).map(Some)
}

struct MomentVisitor {
    latest: i64,
}

impl Visitor<'_> for MomentVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latest = self.latest;
        write!(
            f,
            "run_at as Unix seconds, a whole number from 0 to {latest} (366 days ahead)"
        )
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<i64, E> {
        if (0..=self.latest).contains(&seconds) {
            Ok(seconds)
        } else {
            Err(E::invalid_value(Unexpected::Signed(seconds), &self))
        }
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<i64, E> {
        let moment = i64::try_from(seconds).ok().filter(|seconds| *seconds <= self.latest);
        moment.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(seconds), &self))
    }
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

impl<'de> Deserialize<'de> for Bulk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BulkVisitor)
    }
}

struct BulkVisitor;

impl<'de> Visitor<'de> for BulkVisitor {
    type Value = Bulk;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"an array of 1 to {MOST_WORKS} objects, as in [{{"add_up_to":5}},{{}}]"#
        )
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bulk, A::Error> {
        let mut works: Vec<Wanted> = Vec::new();
        loop {
            let index = works.len();
            let item = items.next_element::<Object<Create>>();
            let item = item.map_err(|error| de::Error::custom(format!("item {index}: {error}")))?;
            match item {
                Some(_) if index == MOST_WORKS => return Err(wrong_count("too many items")),
                Some(Object(create)) => works.push(create.into()),
                None if works.is_empty() => return Err(wrong_count("an empty array")),
                None => return Ok(Bulk(works)),
            }
        }
    }
}

fn wrong_count<E: de::Error>(found: &str) -> E {
    E::custom(format!("{found}, expected {}", Expected(BulkVisitor)))
}

/// The expectation of a visitor as text.
struct Expected<V>(V);

impl<'de, V: Visitor<'de>> fmt::Display for Expected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}
