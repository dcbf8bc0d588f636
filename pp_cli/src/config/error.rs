//! The error for an unusable setting, and values that are never printed.

use std::fmt;

/// An unusable setting. The text is one line that begins with the variable's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {why}")]
pub struct ConfigError {
    variable: &'static str,
    why: String,
}

impl ConfigError {
    /// An error about a variable. The value may be a secret, so it does not belong in `why`.
    pub fn new(variable: &'static str, why: impl Into<String>) -> Self {
        Self {
            variable,
            why: why.into(),
        }
    }

    /// What is wrong, without the variable.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The error for a missing variable.
    pub fn missing(variable: &'static str, example: &str) -> Self {
        Self::new(variable, format!("not set; for example {example}"))
    }
}

/// What is wrong with an address whose adapter is not built in.
pub(crate) fn not_built_in(feature: &str) -> String {
    format!("this program was built without the feature {feature}")
}

/// A value that may hold a password. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself. Pass it only to the driver that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
