//! What was found, and what it means together.

use serde::Serialize;

use crate::failure::Failure;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// Worth knowing, and not wrong.
    Note,
    Wrong,
    /// A server does not answer.
    Unavailable,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Wrong => "wrong",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: String,
    pub(crate) level: Level,
    pub(crate) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) advice: String,
}

/// All that was found, in the order of the looks.
#[derive(Debug, Default)]
pub(crate) struct Checked(pub(crate) Vec<Finding>);

/// The findings as scripts read them.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    status: &'static str,
    version: &'static str,
    findings: &'a [Finding],
}

impl Checked {
    pub(super) fn ok(&mut self, check: &str, found: impl Into<String>) {
        self.add(check, Level::Ok, found, "");
    }

    pub(super) fn note(&mut self, check: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Level::Note, found, advice);
    }

    pub(super) fn wrong(&mut self, check: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Level::Wrong, found, advice);
    }

    pub(super) fn unavailable(&mut self, check: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Level::Unavailable, found, advice);
    }

    fn add(&mut self, check: &str, level: Level, found: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding {
            check: check.to_owned(),
            level,
            found: found.into(),
            advice: advice.into(),
        });
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    /// The document for scripts.
    pub(crate) fn document(&self) -> Document<'_> {
        let status = match (self.count(Level::Unavailable), self.count(Level::Wrong)) {
            (0, 0) => "well",
            (0, _) => "wrong",
            _ => "unavailable",
        };
        Document {
            status,
            version: env!("CARGO_PKG_VERSION"),
            findings: &self.0,
        }
    }

    /// The failure that the findings are, if they are one.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let wrong = match self.count(Level::Wrong) {
            1 => "one finding is wrong".to_owned(),
            count => format!("{count} findings are wrong"),
        };
        match (self.count(Level::Unavailable), self.count(Level::Wrong)) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::Ended(wrong)),
            (_, 0) => Err(Failure::Unavailable("a server is unavailable".to_owned())),
            (_, _) => Err(Failure::Unavailable(format!("a server is unavailable, and {wrong}"))),
        }
    }
}
