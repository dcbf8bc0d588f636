//! What works ask for: the sum, and three kinds of the chaos run: a slow one, a moody one that fails and panics, and one
//! that workers outside do. The code of the first two is in [`super::handlers`], that of the third in [`super::outside`].

use pp_lib::domain::{AddUpTo, KindName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The bound that no consumer of a chaos run accepts: at its pace the work would take longer than an hour.
pub const FAILS: i64 = 2_147_483_647;

/// The name of the kind that takes its time.
pub const SLOW: &str = "chaos.slow";
/// The name of the kind whose works fail, panic and worse.
pub const MOODY: &str = "chaos.moody";

/// The name of the kind that workers outside of PP do.
pub const OUTSIDE: &str = "chaos.outside";

/// The kinds of a run beside the sum.
pub const OTHER_KINDS: [&str; 3] = [SLOW, MOODY, OUTSIDE];

/// The kinds of a run beside the sum, as the library names them.
pub fn other_kinds() -> impl Iterator<Item = KindName> {
    OTHER_KINDS.into_iter().filter_map(|name| name.parse().ok())
}

/// The arguments of a work that takes its time. Its result is that time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// How long it takes, in milliseconds.
    pub millis: u32,
}

/// The arguments of a work that has a mood. Its result is its number.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moody {
    /// How its attempts end.
    pub mood: Mood,
    /// Makes it differ from others.
    pub number: u32,
}

/// The arguments of a work that is done outside. Its result is its number.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    /// Makes it differ from others.
    number: u32,
}

/// How the attempts at a work end. The last three are not part of a run; tests of isolation ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// The first one fails for good.
    Fails,
    /// The first two fail, then one succeeds.
    FailsTwice,
    /// The first one panics, then one succeeds.
    PanicsOnce,
    /// None ends.
    Hangs,
    /// Each panics.
    Panics,
    /// Each ends its process.
    Aborts,
}

/// A kind and its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// The sum up to this bound.
    Sum(i64),
    /// A [`Slow`] work of so many milliseconds.
    Slow(u32),
    /// A [`Moody`] work with this number.
    Moody(Mood, u32),
    /// A work with this number that is done outside.
    Outside(u32),
}

impl Ask {
    /// The name of the kind.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Sum(_) => KindName::ADD_UP_TO,
            Self::Slow(_) => SLOW,
            Self::Moody(..) => MOODY,
            Self::Outside(_) => OUTSIDE,
        }
    }

    /// The arguments as JSON.
    pub fn args(self) -> String {
        match self {
            Self::Sum(bound) => format!(r#"{{"add_up_to":{bound}}}"#),
            Self::Slow(millis) => json(&Slow { millis }),
            Self::Moody(mood, number) => json(&Moody { mood, number }),
            Self::Outside(number) => json(&Outside { number }),
        }
    }

    /// The body of a request for the work.
    pub fn body(self) -> String {
        match self {
            Self::Sum(_) => self.args(),
            other => format!(r#"{{"kind":"{}","args":{}}}"#, other.kind(), other.args()),
        }
    }

    /// The body of a request that gives a work of this kind these arguments.
    pub fn change(self) -> String {
        match self {
            Self::Sum(_) => self.args(),
            other => format!(r#"{{"args":{}}}"#, other.args()),
        }
    }

    /// What a work of this kind with these arguments asks for; `None` if no run asks for such a thing.
    pub fn of(kind: &str, args: &str) -> Option<Self> {
        match kind {
            SLOW => serde_json::from_str(args)
                .ok()
                .map(|Slow { millis }| Self::Slow(millis)),
            MOODY => serde_json::from_str(args)
                .ok()
                .map(|Moody { mood, number }| Self::Moody(mood, number)),
            OUTSIDE => serde_json::from_str(args)
                .ok()
                .map(|Outside { number }| Self::Outside(number)),
            KindName::ADD_UP_TO => {
                let args: Value = serde_json::from_str(args).ok()?;
                // An event of the sum has its bound alone.
                args["add_up_to"].as_i64().or(args.as_i64()).map(Self::Sum)
            }
            _ => None,
        }
    }

    /// What a work or a demand in an answer of the API asks for.
    pub fn of_answer(answer: &Value) -> Option<Self> {
        match answer["add_up_to"].as_i64() {
            Some(bound) => Some(Self::Sum(bound)),
            None => Self::of(answer["kind"].as_str()?, &answer["args"].to_string()),
        }
    }

    /// The result, unless the work must fail.
    pub fn result(self) -> Option<i64> {
        match self {
            Self::Sum(FAILS) | Self::Moody(Mood::Fails, _) => None,
            Self::Sum(bound) => AddUpTo::try_from(bound).ok().map(AddUpTo::sum),
            Self::Slow(millis) => Some(millis.into()),
            Self::Moody(_, number) | Self::Outside(number) => Some(number.into()),
        }
    }

    /// Whether the work must fail.
    pub fn fails(self) -> bool {
        self.result().is_none()
    }

    /// Whether a handler is called for it, once its row says that it runs; a sum is computed first.
    pub const fn is_called(self) -> bool {
        !matches!(self, Self::Sum(_))
    }

    /// Whether some attempts at it fail, so that the time of its end says nothing about a recovery.
    pub fn has_moods(self) -> bool {
        self.fails() || matches!(self, Self::Moody(..))
    }

    /// The number of attempts that it takes at least.
    pub const fn attempts(self) -> usize {
        match self {
            Self::Moody(Mood::FailsTwice, _) => 3,
            Self::Moody(Mood::PanicsOnce, _) => 2,
            _ => 1,
        }
    }
}

fn json(args: &impl Serialize) -> String {
    serde_json::to_string(args).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_is_read_as_it_was_written() {
        for ask in [
            Ask::Sum(4),
            Ask::Sum(FAILS),
            Ask::Slow(70),
            Ask::Moody(Mood::Fails, 1),
            Ask::Moody(Mood::FailsTwice, 2),
            Ask::Moody(Mood::PanicsOnce, 3),
            Ask::Outside(4),
        ] {
            assert_eq!(Ask::of(ask.kind(), &ask.args()), Some(ask));
            let body: Value = serde_json::from_str(&ask.body()).unwrap();
            assert_eq!(Ask::of_answer(&body), Some(ask));
            let change: Value = serde_json::from_str(&ask.change()).unwrap();
            let args = change.get("args").unwrap_or(&change);
            assert_eq!(Ask::of(ask.kind(), &args.to_string()), Some(ask));
        }
        assert_eq!(Ask::of(KindName::ADD_UP_TO, "7"), Some(Ask::Sum(7)), "as in an event");
        assert_eq!(Ask::of(SLOW, r#"{"millis":1,"more":2}"#), None);
        assert_eq!(Ask::of("nobodys", "{}"), None);
        assert_eq!(other_kinds().count(), OTHER_KINDS.len());
    }
}
