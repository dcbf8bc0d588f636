//! The file of variables that a shell can source: `KEY=value`, one a line, quoted where the shell would stumble.
//!
//! Which variables those are is the command `up`'s affair.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::servers::folder;

/// Variables in the order they were set.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct EnvFile {
    entries: Vec<(String, String)>,
}

impl EnvFile {
    /// Sets a variable, in place of an earlier value.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.entries.retain(|(known, _)| known != variable);
        self.entries.push((variable.to_owned(), value.to_owned()));
    }

    /// The value of a variable.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|(known, _)| known == variable)
            .map(|(_, value)| value.as_str())
    }

    /// All variables with their values.
    pub fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When there is none, or a line in it is not an assignment.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (variable, value) = line
                .split_once('=')
                .with_context(|| format!("{}: {line:?}", path.display()))?;
            file.set(variable, &unquote(value));
        }
        Ok(file)
    }

    /// Writes the file, readable by this user alone: the URLs in it have passwords.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let lines = self
            .entries
            .iter()
            .map(|(variable, value)| format!("{variable}={}\n", quote(value)));
        let text: String = ["# Written by `make up`; the Makefile's targets read it.\n".to_owned()]
            .into_iter()
            .chain(lines)
            .collect();
        folder::write_secret(path, &text)
    }
}

fn quote(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

fn unquote(value: &str) -> String {
    match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(inner) => inner.replace(r"'\''", "'"),
        None => value.to_owned(),
    }
}
