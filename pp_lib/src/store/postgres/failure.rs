//! The meaning of diesel errors for the call that met them.
//!
//! Diesel keeps the SQLSTATE to itself except for a few kinds, and the server's words may be in any language. So nothing
//! is decided by words: the connection is asked whether it lives, and what stays unclear needs proof (`store::refusal`).

use std::time::Duration;

use diesel::pg::PgConnection;
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error};
use diesel::{RunQueryDsl as _, sql_query};

/// A statement that took this long before it failed has waited for something: a lock that was not let go, a deadlock
/// (which PostgreSQL looks for after a second), its own time limit. An error about data comes at once.
const WAITED: Duration = Duration::from_millis(900);

/// A failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection to be had in the time there is.
    Unreachable(String),
    /// The connection had been idle and was dead; the next one may live.
    Stale(String),
    /// The connection is of no use any more.
    Broken(String),
    /// The server asks to come again: what it did collided with what others do.
    Busy(String),
    /// A constraint is violated: by these rows, unless others violate it too.
    Violated(String),
    /// The server refuses; diesel does not say why.
    Unclear(String),
    /// The database holds something that this program does not write.
    Unreadable(String),
}

impl Failure {
    /// The same once it is known whether the connection still answers. `took` is how long the attempt lasted.
    pub(super) fn examined(self, connection: &mut PgConnection, took: Duration) -> Self {
        match self {
            Self::Unclear(why) if sql_query("SELECT 1").execute(connection).is_err() => Self::Broken(why),
            Self::Unclear(why) if took >= WAITED => Self::Busy(why),
            known => known,
        }
    }

    /// The server's message.
    pub(super) fn into_words(self) -> String {
        match self {
            Self::Unreachable(why)
            | Self::Stale(why)
            | Self::Broken(why)
            | Self::Busy(why)
            | Self::Violated(why)
            | Self::Unclear(why)
            | Self::Unreadable(why) => why,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error::DatabaseError(kind, information) = error else {
            return match error {
                // It is not known which transaction the session is in.
                Error::BrokenTransactionManager | Error::RollbackErrorOnCommit { .. } => {
                    Self::Broken(error.to_string())
                }
                _ => Self::Unclear(error.to_string()),
            };
        };
        let text = words(information.as_ref());
        match kind {
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => Self::Broken(text),
            // A server that became a replica: its successor answers on a new connection.
            DatabaseErrorKind::ReadOnlyTransaction => Self::Broken(text),
            DatabaseErrorKind::SerializationFailure => Self::Busy(text),
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::ExclusionViolation => Self::Violated(text),
            _ => Self::Unclear(text),
        }
    }
}

/// The first line of the server's message, for the log.
fn words(information: &dyn DatabaseErrorInformation) -> String {
    information.message().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide_nothing() {
        let failure = |kind, text: &str| Failure::from(Error::DatabaseError(kind, Box::new(text.to_owned())));
        for text in [
            "deadlock detected",
            "could not extend file",
            "terminating connection due to administrator command",
            "auf dem Gerät ist kein Speicherplatz mehr verfügbar",
        ] {
            let failure = failure(DatabaseErrorKind::Unknown, text);
            assert_eq!(failure, Failure::Unclear(text.to_owned()));
        }
        let unique = failure(DatabaseErrorKind::UniqueViolation, "duplicate key");
        assert_eq!(unique, Failure::Violated("duplicate key".to_owned()));
        let closed = failure(DatabaseErrorKind::ClosedConnection, "gone");
        assert_eq!(closed, Failure::Broken("gone".to_owned()));
    }
}
