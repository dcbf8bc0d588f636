//! One connection of the pool: how it is made, what is set on it, and how the pool learns that it is dead.
//!
//! A connection to the server keeps one session: settings are made once, and statements are prepared once. A connection
//! to a pooler in transaction mode keeps none: each attempt is one transaction, which begins with its own settings, and
//! nothing is prepared. See [`Way`].
//!
//! Diesel's own manager counts a connection as broken only by its transaction, so without a question before each use
//! it would hand out dead ones again and again. This one believes the statement that failed.

use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::{AnsiTransactionManager, CacheSize, SimpleConnection as _, TransactionManager as _};
use diesel::pg::PgConnection;
use diesel::r2d2::ManageConnection;
use pp_storage::Encryption;
use pp_tls::Trust;

use super::failure::Failure;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// One session of the server, from beginning to end. The settings are the session's.
    Session,
    /// A pooler, which lends a session of the server for one transaction. The settings are the transaction's.
    Transaction,
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Sessions {
    url: String,
    trust: Trust,
    way: Way,
    settings: String,
}

/// A connection with what is known about it.
pub(super) struct Session {
    connection: PgConnection,
    /// The beginning of an attempt that is one transaction.
    begin: Option<String>,
    /// Nothing has been answered on it yet.
    fresh: bool,
    broken: bool,
}

impl Sessions {
    /// The address, or the reason it is no URL.
    pub(super) fn new(url: &str, trust: &Trust, way: Way, timeout: Duration) -> Result<Self, String> {
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err("the URL does not begin with postgres://".to_owned());
        }
        Encryption::of(url)?.client(trust)?;
        let seconds = timeout.as_secs().max(2);
        // A server that is gone without a word is noticed by TCP.
        let mut url = url.to_owned();
        let mut add = |name: &str, value: &str| {
            if !url.contains(&format!("{name}=")) {
                let joint = if url.contains('?') { '&' } else { '?' };
                url.push_str(&format!("{joint}{name}={value}"));
            }
        };
        add("connect_timeout", &seconds.to_string());
        add("keepalives_idle", "5");
        add("keepalives_interval", "2");
        add("keepalives_count", "3");
        add("tcp_user_timeout", &(seconds * 2000).to_string());
        if way == Way::Transaction {
            // Poolers keep the name for each of their clients.
            add("application_name", "pp");
        }
        Ok(Self {
            url,
            trust: trust.clone(),
            way,
            settings: way.settings(timeout),
        })
    }

    /// The address, with the password in it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What the client trusts where the URL names no authorities.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// A connection without the pool's settings, for what takes long.
    pub(super) fn connect_plainly(&self) -> Result<PgConnection, String> {
        pp_storage::connect_postgres(&self.url, &self.trust)
    }
}

impl Way {
    /// The statements that make the settings; those of a transaction begin it as well, in the same round trip.
    fn settings(self, timeout: Duration) -> String {
        let (timeout, lock) = (timeout.as_millis().max(2), timeout.as_millis().max(2) / 2);
        let set = match self {
            Self::Session => "SET",
            Self::Transaction => "SET LOCAL",
        };
        let mut settings = vec![
            // A statement whose caller has given up ends; a lock is tried again before.
            format!("{set} statement_timeout = {timeout}"),
            format!("{set} lock_timeout = {lock}"),
            format!("{set} idle_in_transaction_session_timeout = {timeout}"),
            format!("{set} jit = off"),
        ];
        match self {
            Self::Session => settings.extend(
                [
                    "SET application_name = 'pp'",
                    "SET timezone = 'UTC'",
                    "SET default_transaction_isolation = 'read committed'",
                    // Errors are told apart by their text where diesel keeps the code to itself; only a superuser may
                    // ask for English, everybody else gets by with `Failure::Unclear`.
                    "SELECT set_config('lc_messages', 'C', false) FROM pg_roles
                    WHERE rolname = current_user AND rolsuper",
                ]
                .map(str::to_owned),
            ),
            // No query among them, or the transaction's isolation could not be changed any more.
            Self::Transaction => settings.insert(0, "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned()),
        }
        settings.join("; ")
    }
}

impl ManageConnection for Sessions {
    type Connection = Session;
    type Error = ConnectError;

    fn connect(&self) -> Result<Session, ConnectError> {
        let mut connection = self.connect_plainly().map_err(ConnectError)?;
        let begin = match self.way {
            Way::Session => {
                connection
                    .batch_execute(&self.settings)
                    .map_err(|error| ConnectError(error.to_string()))?;
                None
            }
            Way::Transaction => {
                connection.set_prepared_statement_cache_size(CacheSize::Disabled);
                Some(self.settings.clone())
            }
        };
        Ok(Session {
            connection,
            begin,
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
        let begun = Instant::now();
        let outcome = match &self.begin {
            None => attempt(&mut self.connection),
            Some(begin) => in_transaction(&mut self.connection, begin, attempt),
        };
        let outcome = outcome.map_err(|failure| failure.examined(&mut self.connection, begun.elapsed()));
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

/// Runs an attempt as one transaction, which is rolled back when the attempt fails.
fn in_transaction<T>(
    connection: &mut PgConnection,
    begin: &str,
    attempt: impl FnOnce(&mut PgConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // What fails halfway leaves a transaction that only the server knows of.
    AnsiTransactionManager::begin_transaction_sql(connection, begin)
        .map_err(|error| Failure::Broken(error.to_string()))?;
    let outcome = attempt(connection).and_then(|value| {
        // An attempt that went on after an error fails at the question: a COMMIT alone would roll back and not say so.
        connection.batch_execute("SELECT; COMMIT")?;
        Ok(value)
    });
    match outcome {
        Ok(_) | Err(Failure::Broken(_)) => {}
        Err(_) if is_in_transaction(connection) => {
            let ended = AnsiTransactionManager::rollback_transaction(connection);
            ended.map_err(|error| Failure::Broken(error.to_string()))?;
        }
        Err(_) => {}
    }
    outcome
}

/// True within a transaction, also within that of an attempt.
pub(super) fn is_in_transaction(connection: &mut PgConnection) -> bool {
    let status = AnsiTransactionManager::transaction_manager_status_mut(connection);
    !matches!(status.transaction_depth(), Ok(None))
}

/// Runs statements that all see the same moment, and change nothing.
pub(super) fn at_one_moment<T>(
    connection: &mut PgConnection,
    read: impl FnOnce(&mut PgConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if is_in_transaction(connection) {
        connection.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        return read(connection);
    }
    connection.build_transaction().repeatable_read().read_only().run(read)
}

/// Runs statements in one transaction, each of which sees what was committed before it.
pub(super) fn each_at_its_moment<T>(
    connection: &mut PgConnection,
    run: impl FnOnce(&mut PgConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if is_in_transaction(connection) {
        connection.batch_execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
        return run(connection);
    }
    connection.build_transaction().read_committed().run(run)
}

/// The reason for a missing connection, in words that may be shown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConnectError(String);

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
            let sessions = Sessions::new(url, &Trust::default(), Way::Session, Duration::from_secs(2)).unwrap();
            let error = sessions.connect().err().unwrap().to_string();
            assert!(!error.contains("s3cr") && !error.contains("postgres://"), "{error}");
        }
    }
}
