//! Who does works: the name of a worker, which may be one of PP's own processes or a program of somebody else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a worker. A program that claims works chooses 1 to 100 letters, digits, `.`, `_`, `-` and `@`. PP's own
/// consumers are named behind `consumer:`, which nobody can choose. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerName(Arc<str>);

/// A text that no worker can choose as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a worker's name is 1 to {} letters, digits, `.`, `_`, `-` or `@`",
    WorkerName::MAX_LENGTH
)]
pub struct WorkerNameError;

impl WorkerName {
    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 100;

    /// What the names of PP's own consumers begin with.
    pub const CONSUMER: &str = "consumer:";

    /// The name of a consumer on this host, with what tells it from others there. Other characters of both become `-`.
    pub fn of_consumer(host: &str, distinction: &str) -> Self {
        let clean = |text: &str, most| -> String {
            let fit = |character| if is_of_name(character) { character } else { '-' };
            text.chars().take(most).map(fit).collect()
        };
        Self(format!("{}{}/{}", Self::CONSUMER, clean(host, 50), clean(distinction, 20)).into())
    }

    /// A name as the store has it. It was checked on its way in.
    pub(crate) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '@')
}

impl FromStr for WorkerName {
    type Err = WorkerNameError;

    fn from_str(text: &str) -> Result<Self, WorkerNameError> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.chars().all(is_of_name);
        fits.then(|| Self(text.into())).ok_or(WorkerNameError)
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for WorkerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WorkerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_choose_the_name_of_a_consumer() {
        for good in ["py-1", "resize@host.example", "A_b.9", &"a".repeat(100)] {
            assert_eq!(good.parse::<WorkerName>().unwrap().as_str(), good);
        }
        let own = WorkerName::of_consumer("my host", "12:7");
        assert_eq!(own.as_str(), "consumer:my-host/12-7");
        for bad in ["", "a b", "é", "a/b", own.as_str(), &"a".repeat(101)] {
            assert_eq!(bad.parse::<WorkerName>(), Err(WorkerNameError), "{bad}");
        }
    }
}
