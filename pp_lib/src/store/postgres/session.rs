//! One connection of the pool: how it is made, what is set on it, and how the pool learns that it is dead.
//!
//! Diesel's own manager counts a connection as broken only by its transaction, so without a question before each use
//! it would hand out dead ones again and again. This one believes the statement that failed.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::r2d2::ManageConnection;
use diesel::{Connection as _, ConnectionError};

use super::failure::Failure;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Sessions {
    url: String,
    settings: String,
}

/// A connection with what is known about it.
pub(super) struct Session {
    connection: PgConnection,
    /// Nothing has been answered on it yet.
    fresh: bool,
    broken: bool,
}

impl Sessions {
    /// What is to be connected to, or why that is no URL for this.
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err("the URL does not begin with postgres://".to_owned());
        }
        let seconds = timeout.as_secs().max(2);
        // A server that is gone without a word is noticed by TCP.
        let mut url = url.to_owned();
        for (name, value) in [
            ("connect_timeout", seconds),
            ("keepalives_idle", 5),
            ("keepalives_interval", 2),
            ("keepalives_count", 3),
            ("tcp_user_timeout", seconds * 2000),
        ] {
            if !url.contains(&format!("{name}=")) {
                let joint = if url.contains('?') { '&' } else { '?' };
                url.push_str(&format!("{joint}{name}={value}"));
            }
        }
        let (timeout, lock) = (timeout.as_millis().max(2), timeout.as_millis().max(2) / 2);
        let settings = [
            "SET application_name = 'pp'",
            "SET timezone = 'UTC'",
            "SET default_transaction_isolation = 'read committed'",
            // A statement that nobody waits for any more ends; a lock is tried again before.
            &format!("SET statement_timeout = {timeout}"),
            &format!("SET lock_timeout = {lock}"),
            &format!("SET idle_in_transaction_session_timeout = {timeout}"),
            "SET jit = off",
            // Errors are told apart by their text where diesel keeps the code to itself; only a superuser may ask for
            // English, everybody else gets by with `Failure::Unclear`.
            "SELECT set_config('lc_messages', 'C', false) FROM pg_roles WHERE rolname = current_user AND rolsuper",
        ];
        Ok(Self {
            url,
            settings: settings.join("; "),
        })
    }

    /// A connection without the pool's settings, for what takes long.
    pub(super) fn connect_plainly(&self) -> Result<PgConnection, String> {
        PgConnection::establish(&self.url).map_err(|error| connect_error(&error))
    }
}

impl ManageConnection for Sessions {
    type Connection = Session;
    type Error = ConnectError;

    fn connect(&self) -> Result<Session, ConnectError> {
        let mut connection = self.connect_plainly().map_err(ConnectError)?;
        connection
            .batch_execute(&self.settings)
            .map_err(|error| ConnectError(error.to_string()))?;
        Ok(Session {
            connection,
            fresh: true,
            broken: false,
        })
    }

    fn is_valid(&self, session: &mut Session) -> Result<(), ConnectError> {
        session
            .connection
            .batch_execute("SELECT 1")
            .map_err(|error| ConnectError(error.to_string()))
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.broken || std::thread::panicking()
    }
}

impl Session {
    /// Runs one attempt and remembers what it says about the connection.
    pub(super) fn run<T>(
        &mut self,
        attempt: impl FnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let outcome = attempt(&mut self.connection);
        let was_fresh = std::mem::replace(&mut self.fresh, false);
        match outcome {
            Err(Failure::Broken(why)) => {
                self.broken = true;
                Err(if was_fresh {
                    Failure::Broken(why)
                } else {
                    Failure::Stale(why)
                })
            }
            outcome => outcome,
        }
    }
}

/// Why there is no connection, in words that may be shown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConnectError(String);

/// What libpq says about a server may be shown; what it says about a URL quotes it, password and all.
fn connect_error(error: &ConnectionError) -> String {
    match error {
        ConnectionError::BadConnection(text)
            if text.starts_with("connection to server") || text.starts_with("could not translate host name") =>
        {
            text.trim_end().replace('\n', " ")
        }
        _ => "the URL is not one that PostgreSQL's client understands".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_error_has_no_password() {
        for url in [
            "postgres://pp:s3cr%zzet@localhost/pp",
            "postgres://pp:s3cret@localhost:notaport/pp",
            "postgres://pp:s3cret@[localhost/pp",
            "postgres://pp:s3cret@localhost/pp?no_such_option=s3cret",
            "postgres://pp:s3cret@127.0.0.1:1/pp",
        ] {
            let sessions = Sessions::new(url, Duration::from_secs(2)).unwrap();
            let error = sessions.connect().err().unwrap().to_string();
            assert!(!error.contains("s3cr") && !error.contains("postgres://"), "{error}");
        }
    }
}
