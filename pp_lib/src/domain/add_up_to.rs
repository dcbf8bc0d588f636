//! The built-in kind: the sum 1 + 2 + … + `add_up_to`, its arguments and its message body.
//!
//! Its arguments are `{"add_up_to":5}`. Its body carries `done` beside them, as in the original project.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, DeserializeOwned, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{InvalidDemand, Json};

/// The bound of a sum: 1 to 2,147,483,647.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AddUpTo(i32);

/// A number outside of [`AddUpTo`]'s range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddUpToError;

impl AddUpTo {
    /// The smallest bound.
    pub const MIN: Self = Self(1);
    /// The largest bound, 2,147,483,647.
    pub const MAX: Self = Self(i32::MAX);

    /// The bound as a number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sum 1 + 2 + … + the bound, in closed form; the largest needs 61 bits.
    pub const fn sum(self) -> i64 {
        let bound = self.0 as i64;
        bound * (bound + 1) / 2
    }
}

impl TryFrom<i64> for AddUpTo {
    type Error = AddUpToError;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        i32::try_from(number)
            .ok()
            .filter(|number| *number >= Self::MIN.0)
            .map(Self)
            .ok_or(AddUpToError)
    }
}

impl FromStr for AddUpTo {
    type Err = AddUpToError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<i64>().map_err(|_| AddUpToError)?.try_into()
    }
}

impl<'de> Deserialize<'de> for AddUpTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Says the bound in every error, also for what is no number at all.
        struct BoundVisitor;

        impl Visitor<'_> for BoundVisitor {
            type Value = AddUpTo;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "add_up_to as a whole number from {} to {}",
                    AddUpTo::MIN,
                    AddUpTo::MAX
                )
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<AddUpTo, E> {
                AddUpTo::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<AddUpTo, E> {
                let bound = i64::try_from(number)
                    .ok()
                    .and_then(|number| AddUpTo::try_from(number).ok());
                bound.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_i64(BoundVisitor)
    }
}

impl fmt::Display for AddUpTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for AddUpToError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "add_up_to must be a whole number from {} to {}",
            AddUpTo::MIN,
            AddUpTo::MAX
        )
    }
}

impl std::error::Error for AddUpToError {}

/// The arguments of a sum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    add_up_to: AddUpTo,
}

/// The body of a sum's message: `{"add_up_to":2,"done":false}`; `done` may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    add_up_to: AddUpTo,
    #[serde(default)]
    done: bool,
}

impl AddUpTo {
    /// The arguments of the sum up to this bound: `{"add_up_to":5}`.
    pub fn args(self) -> Json {
        Json::accepted(format!("{{\"add_up_to\":{self}}}"))
    }

    /// The bound in the arguments of a sum.
    ///
    /// # Errors
    /// They are not of a sum; the parser's words.
    pub fn of_args(args: &Json) -> Result<Self, String> {
        let Args { add_up_to } = of_object(args.as_str().as_bytes())?;
        Ok(add_up_to)
    }

    /// The body of the message that asks for a sum.
    pub(super) fn body(self) -> Vec<u8> {
        format!("{{\"add_up_to\":{self},\"done\":false}}").into_bytes()
    }

    /// The bound in the body of a message.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, InvalidDemand> {
        match of_object(body).map_err(InvalidDemand::Malformed)? {
            Body { done: true, .. } => Err(InvalidDemand::AlreadyDone),
            Body { add_up_to, .. } => Ok(add_up_to),
        }
    }
}

/// Reads the fields of an object; an error is the parser's words, shortened because they may repeat the input.
fn of_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    // serde would also read the fields from an array.
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err("an array, expected an object".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| {
        let mut why = error.to_string();
        why.truncate(why.floor_char_boundary(200));
        why
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_is_included_and_the_largest_sum_is_exact() {
        let sum = |n: i64| AddUpTo::try_from(n).unwrap().sum();
        assert_eq!((sum(1), sum(4), sum(100)), (1, 10, 5050));
        assert_eq!(sum(2_147_483_647), 2_305_843_008_139_952_128);
    }

    proptest! {
        #[test]
        fn each_sum_is_the_one_before_and_its_own_bound(n in 2_i64..=2_147_483_647) {
            let sum = |n: i64| AddUpTo::try_from(n).unwrap().sum();
            prop_assert_eq!(sum(n), sum(n - 1) + n);
        }
    }

    #[test]
    fn bounds_are_1_to_2147483647() {
        for good in [1_i64, 99, 2_147_483_647] {
            assert_eq!(AddUpTo::try_from(good).map(|bound| i64::from(bound.get())), Ok(good));
        }
        for bad in [0_i64, -1, 2_147_483_648, i64::MAX, i64::MIN] {
            assert_eq!(AddUpTo::try_from(bad), Err(AddUpToError));
        }
    }

    #[test]
    fn a_body_has_the_form_of_the_original_project() {
        for body in [
            r#"{"add_up_to":2,"done":false}"#,
            r#"{"add_up_to":2}"#,
            r#" {"done":false,"add_up_to":2} "#,
        ] {
            assert_eq!(AddUpTo::of_body(body.as_bytes()).unwrap().get(), 2, "{body}");
        }
        let bound = AddUpTo::try_from(2).unwrap();
        assert_eq!(bound.body(), br#"{"add_up_to":2,"done":false}"#);
        assert_eq!(bound.args().as_str(), r#"{"add_up_to":2}"#);
        assert_eq!(AddUpTo::of_args(&bound.args()), Ok(bound));
    }

    #[test]
    fn other_bodies_are_refused_with_short_errors() {
        assert_eq!(
            AddUpTo::of_body(br#"{"add_up_to":2,"done":true}"#),
            Err(InvalidDemand::AlreadyDone)
        );
        let bad = [
            "",
            "{}",
            "null",
            "[2]",
            r#"{"add_up_to":0}"#,
            r#"{"add_up_to":2147483648}"#,
            r#"{"add_up_to":"2"}"#,
            r#"{"add_up_to":2,"x":1}"#,
        ];
        for body in bad.iter().map(|body| body.as_bytes()).chain([b"\xff\xfe".as_slice()]) {
            assert!(
                matches!(AddUpTo::of_body(body), Err(InvalidDemand::Malformed(_))),
                "{body:?}"
            );
        }
        let long = format!(r#"{{"add_up_to":"{}"}}"#, "é".repeat(5_000_000));
        assert!(AddUpTo::of_body(long.as_bytes()).unwrap_err().to_string().len() < 250);
    }
}
