//! What can go wrong: one line for a person, one exit code for a script.

use std::io;
use std::process::ExitCode;

/// Why a command has not done what was asked; shown as one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is nothing of the kind that was asked for.
    #[error("{}", one_line(.0))]
    NotFound(String),
    /// The work came to another end than was hoped for, or stands where the command does not apply.
    #[error("{}", one_line(.0))]
    Ended(String),
    /// What was typed asks for nothing that can be.
    #[error("{}", one_line(.0))]
    Usage(String),
    /// The API or the database did not answer, or not as one of PP.
    #[error("{}", one_line(.0))]
    Unavailable(String),
    /// The answer could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The code that scripts tell them apart by.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::NotFound(_) | Self::Ended(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable(_) | Self::Output(_) => 3,
        })
    }
}

/// A text that may come from a server or a driver, as one line of bounded length that cannot steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 400;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.trim().chars().map(plain).take(MOST).collect();
    if text.trim().chars().count() > MOST {
        line + "…"
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_whatever_it_quotes() {
        let failure = Failure::NotFound("a\r\nb\x1b[31m".to_owned() + &"c".repeat(1000));
        let line = failure.to_string();
        assert!(line.starts_with("a  b [31mccc") && line.ends_with('…'), "{line}");
        assert_eq!(line.chars().count(), 401);
    }
}
