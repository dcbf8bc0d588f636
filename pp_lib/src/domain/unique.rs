//! The text that makes a work the only unfinished one of its kind.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text of 1 to 255 bytes without U+0000. While a work of a kind with it is unfinished, the answer to a request for
/// another one is that work. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unique(Arc<str>);

/// A text that is no [`Unique`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueError;

impl Unique {
    /// The longest text, in bytes.
    pub const MAX_LENGTH: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Unique {
    type Error = UniqueError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match (1..=Self::MAX_LENGTH).contains(&text.len()) && !text.contains('\0') {
            true => Ok(Self(text.into())),
            false => Err(UniqueError),
        }
    }
}

impl fmt::Display for UniqueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unique is a text of 1 to {} bytes without U+0000",
            Unique::MAX_LENGTH
        )
    }
}

impl std::error::Error for UniqueError {}

impl Serialize for Unique {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_is_a_text_of_1_to_255_bytes_without_nul() {
        let unique = |text: &str| Unique::try_from(text.to_owned()).map(|unique| unique.as_str().to_owned());
        for good in ["user 7", "Größe", " ", &"a".repeat(255)] {
            assert_eq!(unique(good).as_deref(), Ok(good));
        }
        for bad in ["", "a\0b", &"a".repeat(256), &"é".repeat(128)] {
            assert_eq!(unique(bad), Err(UniqueError));
        }
        assert!(serde_json::from_str::<Unique>("7").is_err());
    }
}
