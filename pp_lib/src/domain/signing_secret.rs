//! The secret that signs what PP sends to services.

use std::fmt;
use std::sync::Arc;

/// A secret of the Standard Webhooks specification: `whsec_` and 24 to 64 bytes in Base64. Neither its text nor its length
/// is in any log.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Arc<str>);

/// A text that is no [`SigningSecret`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningSecretError;

impl SigningSecret {
    /// What every secret begins with.
    pub const PREFIX: &'static str = "whsec_";

    /// The whole text, for the store and for its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key in Base64.
    pub fn key(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }
}

impl TryFrom<String> for SigningSecret {
    type Error = SigningSecretError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let key = text.strip_prefix(Self::PREFIX).ok_or(SigningSecretError)?;
        let digits = key.trim_end_matches('=');
        let padding = key.len() - digits.len();
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        let bytes = digits.len() * 3 / 4;
        match key.len().is_multiple_of(4) && padding <= 2 && digits.bytes().all(is_digit) && (24..=64).contains(&bytes)
        {
            true => Ok(Self(text.into())),
            false => Err(SigningSecretError),
        }
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

impl fmt::Display for SigningSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret is `whsec_` and 24 to 64 random bytes in Base64")
    }
}

impl std::error::Error for SigningSecretError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_24_to_64_bytes_in_base64() {
        let secret = |text: &str| SigningSecret::try_from(text.to_owned());
        for good in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &"A".repeat(84),
            &format!("{}==", "A".repeat(86)),
        ] {
            assert_eq!(secret(&format!("whsec_{good}")).unwrap().key(), good);
        }
        for bad in [
            "",
            "MfKQ",
            &"A".repeat(28),
            &"A".repeat(88),
            &"-".repeat(32),
            &"A".repeat(33),
            &format!("{}===", "A".repeat(33)),
        ] {
            assert_eq!(secret(&format!("whsec_{bad}")), Err(SigningSecretError), "{bad}");
        }
        assert_eq!(secret(&"A".repeat(40)), Err(SigningSecretError));
    }

    #[test]
    fn a_secret_is_in_no_log() {
        let secret = SigningSecret::try_from(format!("whsec_{}", "A".repeat(32))).unwrap();
        assert_eq!(format!("{secret:?}"), "SigningSecret(…)");
    }
}
