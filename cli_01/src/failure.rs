//! The errors of a command: one line for people, one exit code for scripts.

use std::io;
use std::process::ExitCode;

/// The reason why a command failed, shown as one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The requested object does not exist.
    #[error("{}", one_line(.0))]
    NotFound(String),
    /// The work ended without a result, or its status does not allow the command.
    #[error("{}", one_line(.0))]
    Ended(String),
    /// The command line is invalid.
    #[error("{}", one_line(.0))]
    Usage(String),
    /// The API or the database did not answer, or is not one of PP.
    #[error("{}", one_line(.0))]
    Unavailable(String),
    /// The answer could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::NotFound(_) | Self::Ended(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable(_) | Self::Output(_) => 3,
        })
    }
}

/// Turns a text from a server or driver into one line of limited length without control characters.
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
    fn a_failure_is_one_line_even_if_it_quotes_a_server() {
        let failure = Failure::NotFound("a\r\nb\x1b[31m".to_owned() + &"c".repeat(1000));
        let line = failure.to_string();
        assert!(line.starts_with("a  b [31mccc") && line.ends_with('…'), "{line}");
        assert_eq!(line.chars().count(), 401);
    }
}
