//! The public name of a work: where it came from, then ten random characters.
//!
//! The randomness comes from the caller, who also tries again in the one case in 10^17 where a code is taken.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const RANDOM_LENGTH: usize = 10;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The origin of a work; the part of its code before the dash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Created over the REST API.
    Api,
    /// Created by the consumer for a demand that had no row.
    Consumer,
    /// Put in by a transaction of an application.
    App,
}

impl Origin {
    /// Every origin there is.
    pub const ALL: [Self; 3] = [Self::Api, Self::Consumer, Self::App];

    /// The name as it stands in a work code and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Consumer => "consumer",
            Self::App => "app",
        }
    }
}

/// A work's unique code, such as `api-bjq8euwsEA`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WorkCode(String);

/// A text that is not a work code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkCodeError;

impl WorkCode {
    /// The longest code there is, in bytes.
    pub const MAX_LENGTH: usize = "consumer-".len() + RANDOM_LENGTH;

    /// A code made of an origin and random indexes; each is taken modulo the alphabet's 62 characters.
    pub fn new(origin: Origin, random: [u8; RANDOM_LENGTH]) -> Self {
        let mut code = String::with_capacity(Self::MAX_LENGTH);
        code.push_str(origin.as_str());
        code.push('-');
        code.extend(
            random
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])),
        );
        Self(code)
    }

    /// The origin of the work.
    pub fn origin(&self) -> Origin {
        match self.0.as_bytes() {
            [b'a', b'p', b'i', ..] => Origin::Api,
            [b'a', ..] => Origin::App,
            _ => Origin::Consumer,
        }
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkCode {
    type Err = WorkCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (origin, random) = text.split_once('-').ok_or(WorkCodeError)?;
        let known = Origin::ALL.iter().any(|known| known.as_str() == origin);
        let well_formed = random.len() == RANDOM_LENGTH && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if known && well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(WorkCodeError)
        }
    }
}

impl TryFrom<String> for WorkCode {
    type Error = WorkCodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WorkCode> for String {
    fn from(code: WorkCode) -> Self {
        code.0
    }
}

impl fmt::Display for WorkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WorkCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a work code is `api-`, `app-` or `consumer-` and ten letters or digits")
    }
}

impl std::error::Error for WorkCodeError {}

/// The beginning of work codes to look for; every character stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkCodePrefix(String);

impl WorkCodePrefix {
    /// The longest prefix that is accepted, in bytes: longer than any code, so that nothing sensible is refused.
    pub const MAX_LENGTH: usize = 64;

    /// A prefix of at most [`Self::MAX_LENGTH`] bytes, else nothing.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= Self::MAX_LENGTH).then(|| Self(text.to_owned()))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The codes that a store has to look for.
    pub fn selection(&self) -> PrefixSelection<'_> {
        let prefix = self.0.as_str();
        if prefix.is_empty() {
            return PrefixSelection::All;
        }
        let dashed = |origin: &Origin| format!("{}-", origin.as_str());
        let begun = Origin::ALL
            .into_iter()
            .filter(|origin| dashed(origin).starts_with(prefix));
        let origins: Vec<Origin> = begun.collect();
        if !origins.is_empty() {
            return PrefixSelection::Origins(origins);
        }
        let possible = Origin::ALL.iter().any(|origin| prefix.starts_with(&dashed(origin)))
            && prefix.len() <= WorkCode::MAX_LENGTH
            && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if possible {
            PrefixSelection::Codes {
                from: prefix,
                to: successor(prefix),
            }
        } else {
            PrefixSelection::Nothing
        }
    }
}

/// The part of all works whose code begins with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixSelection<'a> {
    /// No code can begin like that.
    Nothing,
    /// Every code does.
    All,
    /// Exactly the codes of these origins do.
    Origins(Vec<Origin>),
    /// The codes in byte order from `from`, inclusive, to `to`, exclusive.
    Codes {
        /// The prefix itself.
        from: &'a str,
        /// The first text in byte order that does not begin with the prefix.
        to: String,
    },
}

/// The prefix with its last character raised by one; it is ASCII below `~`, so the result is text again.
fn successor(prefix: &str) -> String {
    let (init, last) = prefix.split_at(prefix.len() - 1);
    let next = last.bytes().next().map_or('~', |byte| char::from(byte + 1));
    format!("{init}{next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_names_its_origin_and_parses_again() {
        for origin in Origin::ALL {
            let code = WorkCode::new(origin, [0, 25, 26, 51, 52, 61, 62, 100, 200, 255]);
            assert_eq!(code.origin(), origin);
            assert_eq!(code.as_str().parse(), Ok(code.clone()));
            assert!(code.as_str().len() <= WorkCode::MAX_LENGTH);
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in [
            "",
            "api",
            "api-",
            "api-short",
            "api-12345678901",
            "rest-1234567890",
            "api-12345678é",
            "API-1234567890",
        ] {
            assert_eq!(text.parse::<WorkCode>(), Err(WorkCodeError), "{text}");
        }
    }

    #[test]
    fn a_prefix_selects_all_some_origins_a_range_or_nothing() {
        let select = |text: &str| format!("{:?}", WorkCodePrefix::parse(text).unwrap().selection());
        assert_eq!(select(""), "All");
        assert_eq!(select("a"), "Origins([Api, App])");
        assert_eq!(select("api-"), "Origins([Api])");
        assert_eq!(select("app"), "Origins([App])");
        assert_eq!(select("cons"), "Origins([Consumer])");
        assert_eq!(select("api-bj"), r#"Codes { from: "api-bj", to: "api-bk" }"#);
        assert_eq!(select("api-z"), r#"Codes { from: "api-z", to: "api-{" }"#);
        for nothing in [
            "x",
            "apix",
            "api_",
            "%",
            "api-%",
            "api-'",
            "api-\\",
            "api-\u{0}",
            "api-é",
            "consumer-12345678901",
        ] {
            assert_eq!(select(nothing), "Nothing", "{nothing}");
        }
        assert_eq!(WorkCodePrefix::parse(&"a".repeat(65)), None);
    }
}
