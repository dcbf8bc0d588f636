//! The name of a kind: the sort of work that a work is.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kind's name: words of `a` to `z`, `0` to `9` and `_` with dots between them, at most 100 bytes. A clone shares the
/// text. The default is the built-in kind, [`Self::ADD_UP_TO`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindName(Arc<str>);

/// A text that is no name of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindNameError;

impl fmt::Display for KindNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = KindName::MAX_LENGTH;
        write!(
            f,
            "a kind's name is words of a-z, 0-9 and _ with dots between them, at most {most} bytes"
        )
    }
}

impl std::error::Error for KindNameError {}

impl KindName {
    /// The built-in kind: sums.
    pub const ADD_UP_TO: &str = "add_up_to";

    /// The kind of notices of finished works.
    pub const NOTICE: &str = "pp.notice";

    /// What the names of kinds begin with that PP keeps for itself.
    const OWN_PREFIX: &str = "pp.";

    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 100;

    /// The name of the built-in kind.
    pub fn add_up_to() -> &'static Self {
        static ADD_UP_TO: LazyLock<KindName> = LazyLock::new(|| KindName(KindName::ADD_UP_TO.into()));
        &ADD_UP_TO
    }

    /// The name of the kind of notices.
    pub fn notice() -> &'static Self {
        static NOTICE: LazyLock<KindName> = LazyLock::new(|| KindName(KindName::NOTICE.into()));
        &NOTICE
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if a text is a name of a kind. It serves at compile time too.
    pub const fn is_name(text: &str) -> bool {
        let text = text.as_bytes();
        let (mut at, mut word) = (0, 0);
        while at < text.len() {
            match text[at] {
                b'a'..=b'z' | b'0'..=b'9' | b'_' => word += 1,
                b'.' if word > 0 => word = 0,
                _ => return false,
            }
            at += 1;
        }
        word > 0 && text.len() <= Self::MAX_LENGTH
    }

    /// True for the kinds that PP makes works of by itself.
    pub fn is_own(&self) -> bool {
        self.0.starts_with(Self::OWN_PREFIX)
    }

    /// True for the built-in kind.
    pub fn is_add_up_to(&self) -> bool {
        &*self.0 == Self::ADD_UP_TO
    }
}

impl Default for KindName {
    fn default() -> Self {
        Self::add_up_to().clone()
    }
}

impl FromStr for KindName {
    type Err = KindNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::ADD_UP_TO {
            return Ok(Self::default());
        }
        match Self::is_name(text) {
            true => Ok(Self(text.into())),
            false => Err(KindNameError),
        }
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for KindName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KindName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_with_dots_between_them() {
        for good in ["add_up_to", "user.welcome.email", "a", "0", "_", &"a".repeat(100)] {
            assert_eq!(good.parse::<KindName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A",
            "a-b",
            "a b",
            "é",
            "a/b",
            &"a".repeat(101),
        ] {
            assert_eq!(bad.parse::<KindName>(), Err(KindNameError), "{bad}");
        }
        assert!(KindName::default().is_add_up_to() && !"add_up_to.x".parse::<KindName>().unwrap().is_add_up_to());
    }
}
