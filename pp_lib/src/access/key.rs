//! One API key: `pp_` and 160 random bits. It is shown to its holder once; everything else knows its digest.
//!
//! SHA-256 without salt or stretching is enough, because nobody can try 2^160 keys. A digest that is compared byte by
//! byte tells an attacker nothing: nobody can make a key for a digest that begins as wanted.

use std::fmt;
use std::str::FromStr;

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use crate::domain::KeyDigest;

const PREFIX: &str = "pp_";
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters after the prefix, of 5 bits each.
const LENGTH: usize = 32;

/// An API key. `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// A text that is no API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key is pp_ and 32 lower-case letters and digits")]
pub struct ApiKeyError;

impl ApiKey {
    /// A new key.
    pub fn random() -> Self {
        let mut rng = rand::rng();
        let letters = (0..LENGTH).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]));
        Self(PREFIX.chars().chain(letters).collect())
    }

    /// The key itself, for its holder.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(&self.0).into())
    }
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<Self, ApiKeyError> {
        let letters = text.strip_prefix(PREFIX).ok_or(ApiKeyError)?;
        let known = letters.len() == LENGTH && letters.bytes().all(|byte| LETTERS.contains(&byte));
        known.then(|| Self(text.to_owned())).ok_or(ApiKeyError)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_shown_and_hidden_elsewhere() {
        let key = ApiKey::random();
        assert_eq!(key.secret().len(), 35);
        assert_eq!(key.secret().parse(), Ok(key.clone()));
        assert_ne!(key, ApiKey::random());
        let shown = format!("{key:?} {:?}", key.digest());
        assert_eq!(shown, "ApiKey(…) KeyDigest(…)");
    }

    #[test]
    fn another_text_is_no_key() {
        let key = ApiKey::random();
        let upper = key.secret().to_uppercase();
        for wrong in [
            "",
            "pp_",
            &key.secret()[3..],
            &upper,
            &format!("{}a", key.secret()),
            "pp_ääääääääääääääää",
        ] {
            assert_eq!(wrong.parse::<ApiKey>(), Err(ApiKeyError), "{wrong}");
        }
    }
}
