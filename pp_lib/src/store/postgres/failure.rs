//! What an error of diesel means for the call that met it.
//!
//! Diesel keeps the SQLSTATE to itself except for a few kinds, so the rest is told apart by the server's words.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error};

/// Why an attempt failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection to be had in the time there is.
    Unreachable(String),
    /// The connection had been idle and was dead; the next one may live.
    Stale(String),
    /// The connection is of no use any more.
    Broken(String),
    /// The server asks to come again: a deadlock, a lock held too long, no room, a shutdown.
    Busy(String),
    /// The server said something unknown, perhaps in another language: worth a few tries, not more.
    Unclear(String),
    /// The same will fail again.
    Rejected(String),
}

/// Sessions that are ended by the server.
const BROKEN: [&str; 3] = [
    "terminating connection",
    "the database system is",
    "server closed the connection",
];

/// What may go better the next time: 40001, 40P01, 55P03, 57014, class 53.
const BUSY: [&str; 12] = [
    "could not serialize access",
    "deadlock detected",
    "canceling statement due to",
    "could not obtain lock",
    "No space left on device",
    "could not extend file",
    "could not write to file",
    "disk full",
    "out of memory",
    "out of shared memory",
    "too many clients",
    "remaining connection slots",
];

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error::DatabaseError(kind, information) = error else {
            return match error {
                // Nobody knows which transaction the session is in.
                Error::BrokenTransactionManager | Error::RollbackErrorOnCommit { .. } => {
                    Self::Broken(error.to_string())
                }
                _ => Self::Rejected(error.to_string()),
            };
        };
        let text = words(information.as_ref());
        let is = |known: &[&str]| known.iter().any(|words| text.contains(words));
        match kind {
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => Self::Broken(text),
            // A server that became a replica: its successor answers on a new connection.
            DatabaseErrorKind::ReadOnlyTransaction => Self::Broken(text),
            DatabaseErrorKind::SerializationFailure => Self::Busy(text),
            DatabaseErrorKind::Unknown if is(&BROKEN) => Self::Broken(text),
            DatabaseErrorKind::Unknown if is(&BUSY) => Self::Busy(text),
            DatabaseErrorKind::Unknown => Self::Unclear(text),
            _ => Self::Rejected(text),
        }
    }
}

/// The first line of the server's message.
fn words(information: &dyn DatabaseErrorInformation) -> String {
    information.message().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_decide_where_there_is_no_kind() {
        let failure = |kind, text: &str| Failure::from(Error::DatabaseError(kind, Box::new(text.to_owned())));
        let unknown = |text: &str| failure(DatabaseErrorKind::Unknown, text);
        assert!(matches!(unknown("deadlock detected"), Failure::Busy(_)));
        assert!(matches!(
            unknown("canceling statement due to lock timeout"),
            Failure::Busy(_)
        ));
        assert!(matches!(
            unknown("terminating connection due to administrator command"),
            Failure::Broken(_)
        ));
        assert!(matches!(unknown("Verklemmung entdeckt"), Failure::Unclear(_)));
        let unique = failure(DatabaseErrorKind::UniqueViolation, "duplicate key");
        assert_eq!(unique, Failure::Rejected("duplicate key".to_owned()));
    }
}
