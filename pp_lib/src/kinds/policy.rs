//! The policy of a kind: how its works are handled. In JSON, a duration is a text with a unit.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt as _;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{duration_schema, schema};
use crate::broker::queues::QueueNames;
use crate::domain::{Json, WebUrl};

/// How works of a kind are handled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The number of failed attempts after which a work is given up: 1 to 1,000.
    #[serde(deserialize_with = "max_attempts")]
    #[schemars(schema_with = "shapes::max_attempts")]
    pub max_attempts: u16,
    /// The waits between attempts.
    pub backoff: Backoff,
    /// The time limit of one attempt.
    #[serde(serialize_with = "as_text", deserialize_with = "timeout")]
    #[schemars(schema_with = "shapes::timeout")]
    pub timeout: Duration,
    /// The longest silence of a worker with a running work; then another worker takes it. At least 300 ms.
    #[serde(serialize_with = "as_text", deserialize_with = "lease")]
    #[schemars(schema_with = "shapes::lease")]
    pub lease: Duration,
    /// The number of works that one process handles at once: 1 to 10,000.
    #[serde(deserialize_with = "places")]
    #[schemars(schema_with = "shapes::places")]
    pub places: u16,
    /// True to stop sending and taking works. Those under way go on.
    pub paused: bool,
    /// The time for which finished works are kept.
    pub retention: Retention,
    /// The queue of its demands, in place of the usual name. It is used as it is if it exists.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "queue")]
    #[schemars(schema_with = "shapes::queue")]
    pub queue: Option<Cow<'static, str>>,
    /// The queue of its dead letters, in place of the common one. Kinds may share it. It is used as it is if it exists.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "queue")]
    #[schemars(schema_with = "shapes::queue")]
    pub dead_letter_queue: Option<Cow<'static, str>>,
    /// The URL that is told of each finished work.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "notify")]
    #[schemars(schema_with = "schema::url")]
    pub notify: Option<Cow<'static, str>>,
}

/// The waits between attempts: the first is `base`, each further one `factor` times as long, up to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The first wait.
    #[serde(serialize_with = "as_text", deserialize_with = "base")]
    #[schemars(schema_with = "shapes::base")]
    pub base: Duration,
    /// The growth of each further wait: 1 to 100.
    #[serde(deserialize_with = "factor")]
    #[schemars(schema_with = "shapes::factor")]
    pub factor: f64,
    /// The longest wait.
    #[serde(serialize_with = "as_text", deserialize_with = "cap")]
    #[schemars(schema_with = "shapes::cap")]
    pub cap: Duration,
    /// The part of each wait that is random, so that works that failed together do not return together: 0 to 1.
    #[serde(deserialize_with = "jitter")]
    #[schemars(schema_with = "shapes::jitter")]
    pub jitter: f64,
}

/// The time for which finished works are kept. Works with dead letters stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// The time that the dispatching process is set to: 30 days, or its `PP_RETAIN`.
    #[default]
    Default,
    /// For ever.
    Forever,
    /// This long: at least a day, because late copies of messages are recognized by the rows of their works.
    For(Duration),
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Policy {
    /// The policy of a kind that says nothing else.
    pub const DEFAULT: Self = Self {
        max_attempts: 5,
        backoff: Backoff::DEFAULT,
        timeout: Duration::from_secs(15 * 60),
        lease: Duration::from_secs(4),
        places: 100,
        paused: false,
        retention: Retention::Default,
        queue: None,
        dead_letter_queue: None,
        notify: None,
    };

    /// The same policy with an operator's settings over it: an object with some of its fields.
    ///
    /// # Errors
    /// A setting is unknown or out of its bounds; a sentence that names it.
    pub fn with(&self, overrides: &Json) -> Result<Self, String> {
        let mut policy = serde_json::to_value(self).map_err(|error| error.to_string())?;
        let overrides: Value = serde_json::from_str(overrides.as_str()).map_err(|error| error.to_string())?;
        merge(&mut policy, overrides);
        serde_json::from_value(policy).map_err(|error| error.to_string())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Backoff {
    /// One second, doubled up to ten minutes; half of each wait is random.
    pub const DEFAULT: Self = Self {
        base: Duration::from_secs(1),
        factor: 2.0,
        cap: Duration::from_secs(600),
        jitter: 0.5,
    };

    /// The wait after this many failed attempts before the last one.
    pub fn delay_after(&self, failures: i32) -> Duration {
        let longest = self.cap.as_secs_f64();
        let grown = (self.base.as_secs_f64() * self.factor.powi(failures.max(0))).min(longest);
        let random = 1.0 - self.jitter * rand::rng().random_range(0.0..1.0);
        Duration::from_secs_f64(grown * random)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Retention {
    /// The time, where the default is this one. [`Duration::MAX`] is for ever.
    pub fn or(self, default: Duration) -> Duration {
        match self {
            Self::Default => default,
            Self::Forever => Duration::MAX,
            Self::For(time) => time,
        }
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => serializer.serialize_str("default"),
            Self::Forever => serializer.serialize_str("forever"),
            Self::For(time) => as_text(time, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "default" => Ok(Self::Default),
            "forever" => Ok(Self::Forever),
            _ => bounded_duration("retention", &text, DAY..=LONGEST)
                .map(Self::For)
                .map_err(|why| D::Error::custom(format!("{why}, or `forever`, or `default`"))),
        }
    }
}

impl JsonSchema for Retention {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Retention".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string", "enum": ["default", "forever"] }, duration_schema(DAY..=LONGEST)] })
    }
}

/// Settings after a change in the form of a JSON merge patch (RFC 7396): `null` takes a setting back.
///
/// # Errors
/// The change is no object, or names an unknown setting. Values are not checked.
pub(super) fn merged(overrides: &Json, change: &Json) -> Result<Json, String> {
    let all = Policy {
        queue: Some(Cow::Borrowed("any")),
        dead_letter_queue: Some(Cow::Borrowed("any")),
        notify: Some(Cow::Borrowed("any")),
        ..Policy::DEFAULT
    };
    let known = serde_json::to_value(all).map_err(|error| error.to_string())?;
    let change: Value = serde_json::from_str(change.as_str()).map_err(|error| error.to_string())?;
    let Value::Object(settings) = &change else {
        return Err("expected an object with settings of the policy".to_owned());
    };
    if let Some(unknown) = settings.keys().find(|name| known.get(name).is_none()) {
        return Err(format!("unknown setting `{unknown}`"));
    }
    let mut merged: Value = serde_json::from_str(overrides.as_str()).map_err(|error| error.to_string())?;
    merge(&mut merged, change);
    Ok(Json::accepted(merged.to_string()))
}

fn merge(target: &mut Value, change: Value) {
    let Value::Object(change) = change else {
        *target = change;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in change {
        match value {
            Value::Null => drop(target.remove(&name)),
            value => merge(target.entry(name).or_insert(Value::Null), value),
        }
    }
}

fn as_text<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Text(*duration))
}

/// A duration as a whole number of the largest unit that divides it.
struct Text(Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u128); 7] = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ];
        let nanos = self.0.as_nanos();
        let divides = |(_, unit): &&(&str, u128)| nanos > 0 && nanos.is_multiple_of(*unit);
        match UNITS.iter().find(divides) {
            Some((name, unit)) => write!(f, "{}{name}", nanos / unit),
            None => f.write_str("0s"),
        }
    }
}

/// Reads a duration with a unit, as in `30s`.
///
/// # Errors
/// The text is none, or not within these bounds; a sentence that gives the name and the bounds.
pub fn bounded_duration(name: &str, text: &str, within: RangeInclusive<Duration>) -> Result<Duration, String> {
    let expected = || {
        let [from, to] = [within.start(), within.end()].map(|bound| Text(*bound));
        format!("{name} must be a duration from {from} to {to}, as in `30s`")
    };
    let parsed = humantime::parse_duration(text).ok();
    parsed.filter(|parsed| within.contains(parsed)).ok_or_else(expected)
}

fn number<T: PartialOrd + fmt::Display>(name: &str, number: T, within: RangeInclusive<T>) -> Result<T, String> {
    if within.contains(&number) {
        Ok(number)
    } else {
        Err(format!("{name} must be from {} to {}", within.start(), within.end()))
    }
}

/// Functions that read a field and check its bounds, and in `shapes` those of its JSON Schema.
macro_rules! bounded {
    ($($name:ident: $type:ty = $check:ident $within:expr;)*) => {
        $(
            fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                bounded!(@read $check, $name, $within, deserializer)
            }
        )*

        mod shapes {
            use super::*;

            $(
                pub(super) fn $name(generator: &mut SchemaGenerator) -> Schema {
                    bounded!(@shape $check, $type, $within, generator)
                }
            )*

            pub(super) fn queue(_: &mut SchemaGenerator) -> Schema {
                queue_schema()
            }
        }
    };
    (@read duration, $name:ident, $within:expr, $deserializer:ident) => {
        bounded_duration(stringify!($name), &String::deserialize($deserializer)?, $within).map_err(D::Error::custom)
    };
    (@read number, $name:ident, $within:expr, $deserializer:ident) => {
        number(stringify!($name), Deserialize::deserialize($deserializer)?, $within).map_err(D::Error::custom)
    };
    (@shape duration, $type:ty, $within:expr, $generator:ident) => {{
        let _ = $generator;
        duration_schema($within)
    }};
    (@shape number, $type:ty, $within:expr, $generator:ident) => {{
        let (mut schema, within) = (<$type>::json_schema($generator), $within);
        schema.insert("minimum".to_owned(), (*within.start()).into());
        schema.insert("maximum".to_owned(), (*within.end()).into());
        schema
    }};
}

bounded! {
    max_attempts: u16 = number 1..=1_000;
    timeout: Duration = duration Duration::ZERO..=LONGEST;
    lease: Duration = duration Duration::from_millis(300)..=LONGEST;
    places: u16 = number 1..=10_000;
    base: Duration = duration Duration::ZERO..=7 * DAY;
    factor: f64 = number 1.0..=100.0;
    cap: Duration = duration Duration::ZERO..=7 * DAY;
    jitter: f64 = number 0.0..=1.0;
}

fn queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'static, str>>, D::Error> {
    let name = String::deserialize(deserializer)?;
    QueueNames::checked(&name).map_err(D::Error::custom)?;
    Ok(Some(name.into()))
}

fn notify<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'static, str>>, D::Error> {
    let url = String::deserialize(deserializer)?;
    match WebUrl::try_from(url.clone()) {
        Ok(_) => Ok(Some(url.into())),
        Err(error) => Err(D::Error::custom(format_args!("notify: {error}"))),
    }
}

fn queue_schema() -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": QueueNames::MAX_LENGTH,
        "pattern": r"^([^a\x00-\x1f\x7f-\x9f]|a([^m\x00-\x1f\x7f-\x9f]|$))[^\x00-\x1f\x7f-\x9f]*$",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::accepted(text)
    }

    #[test]
    fn a_policy_is_json_and_back() {
        let policy = Policy {
            max_attempts: 8,
            timeout: Duration::from_secs(30),
            retention: Retention::For(90 * DAY),
            queue: Some("user.welcome.email".into()),
            dead_letter_queue: Some("user.welcome.deadletter".into()),
            ..Policy::DEFAULT
        };
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(
            text,
            r#"{"max_attempts":8,"backoff":{"base":"1s","factor":2.0,"cap":"10m","jitter":0.5},"timeout":"30s","lease":"4s","places":100,"paused":false,"retention":"90d","queue":"user.welcome.email","dead_letter_queue":"user.welcome.deadletter"}"#
        );
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::DEFAULT);
    }

    #[test]
    fn settings_out_of_bounds_and_unknown_ones_are_refused_by_name() {
        for (text, named) in [
            (r#"{"max_attempts":0}"#, "max_attempts must be from 1 to 1000"),
            (r#"{"timeout":"5"}"#, "timeout must be a duration"),
            (r#"{"lease":"1ms"}"#, "lease must be a duration from 300ms"),
            (r#"{"places":20000}"#, "places must be from 1 to 10000"),
            (r#"{"backoff":{"factor":0.5}}"#, "factor must be from 1 to 100"),
            (r#"{"backoff":{"colour":1}}"#, "colour"),
            (r#"{"retention":"1h"}"#, "retention must be a duration from 1d"),
            (r#"{"queue":"amq.x"}"#, "amq."),
            (r#"{"dead_letter_queue":""}"#, "1 to 255 bytes"),
            (r#"{"notify":"mailto:a@b"}"#, "notify: a URL must begin"),
            (r#"{"atempts":3}"#, "atempts"),
            (r#"{"paused":"yes"}"#, "boolean"),
        ] {
            let why = Policy::DEFAULT.with(&json(text)).unwrap_err();
            assert!(why.contains(named), "{text}: {why}");
        }
    }

    #[test]
    fn settings_lie_over_the_declared_policy() {
        let declared = Policy {
            max_attempts: 8,
            ..Policy::DEFAULT
        };
        let policy = declared
            .with(&json(r#"{"paused":true,"backoff":{"cap":"1m"},"retention":"forever"}"#))
            .unwrap();
        assert_eq!((policy.max_attempts, policy.paused), (8, true));
        assert_eq!(policy.backoff.base, Backoff::DEFAULT.base);
        assert_eq!(policy.backoff.cap, Duration::from_secs(60));
        assert_eq!(policy.retention.or(DAY), Duration::MAX);
    }

    #[test]
    fn a_change_adds_settings_and_takes_them_back() {
        let overrides = merged(
            &json(r#"{"paused":true,"places":3}"#),
            &json(r#"{"paused":null,"lease":"9s"}"#),
        )
        .unwrap();
        assert_eq!(overrides, json(r#"{"lease":"9s","places":3}"#));
        for unknown in [r#"{"colour":null}"#, "[]", "3"] {
            assert!(merged(&json("{}"), &json(unknown)).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_duration_is_written_in_its_largest_unit() {
        for text in ["0s", "30d", "36h", "90s", "15m", "300ms", "5us"] {
            let parsed = humantime::parse_duration(text).unwrap();
            assert_eq!(Text(parsed).to_string(), text);
        }
    }

    #[test]
    fn waits_grow_with_jitter_to_a_bound() {
        for (failures, longest) in [(0, 1.0), (1, 2.0), (5, 32.0), (40, 600.0), (i32::MAX, 600.0), (-1, 1.0)] {
            let delay = Backoff::DEFAULT.delay_after(failures).as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&delay), "{failures}: {delay}");
        }
        let fixed = Backoff {
            factor: 1.0,
            jitter: 0.0,
            ..Backoff::DEFAULT
        };
        assert_eq!(fixed.delay_after(7), Duration::from_secs(1));
    }
}
