//! What is said about a wrong setting, and settings that are not said at all.

use std::fmt;

/// A setting that cannot be used; one line that begins with the variable's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {why}")]
pub struct ConfigError {
    variable: &'static str,
    why: String,
}

impl ConfigError {
    /// A variable and what is wrong with its value; the value itself may be a secret and is not part of it.
    pub fn new(variable: &'static str, why: impl Into<String>) -> Self {
        Self {
            variable,
            why: why.into(),
        }
    }

    /// A variable that must be set.
    pub fn missing(variable: &'static str, example: &str) -> Self {
        Self::new(variable, format!("not set; for example {example}"))
    }
}

/// A value that may hold a password: it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for whom it is meant.
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
