//! The address of the database and the limits of its use.

use std::time::Duration;

use clap::Args;
use url::Url;

use super::{ConfigError, Secret, duration, not_built_in, whole};

const URL: &str = "PP_DATABASE_URL";
const DIRECT_URL: &str = "PP_DATABASE_DIRECT_URL";

/// The settings of the store.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full` for TLS, or `sqlite://` and a file.
    #[arg(
        id = "database_url",
        long = "database-url",
        value_name = "URL",
        env = "PP_DATABASE_URL",
        hide_env_values = true
    )]
    url: Option<Secret>,

    /// The PostgreSQL server itself if `PP_DATABASE_URL` names a pooler in transaction mode; `LISTEN` and migrations
    /// need their own session.
    #[arg(
        id = "database_direct_url",
        long = "database-direct-url",
        value_name = "URL",
        env = "PP_DATABASE_DIRECT_URL",
        hide_env_values = true
    )]
    direct_url: Option<Secret>,

    /// The number of connections to PostgreSQL, or of readers of a SQLite file.
    #[arg(id = "database_pool", long = "database-pool", value_name = "COUNT", env = "PP_DATABASE_POOL", default_value = "8", value_parser = whole(1..=200_u32))]
    pub pool: u32,

    /// The time limit of one call, including the wait for a connection and retries [unit: duration, as in 5s].
    #[arg(id = "database_timeout", long = "database-timeout", value_name = "DURATION", env = "PP_DATABASE_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

impl DatabaseArgs {
    /// The selected database, or the default.
    pub fn address_or(&self, default: &str) -> Result<DatabaseUrl, ConfigError> {
        self.address(self.url.as_ref().map_or(default, Secret::expose))
    }

    /// True if a database is named.
    pub fn is_set(&self) -> bool {
        self.url.is_some()
    }

    /// The database for a program that shares it with other processes.
    pub fn shared_address(&self) -> Result<DatabaseUrl, ConfigError> {
        let missing = || ConfigError::missing(URL, "postgres://user:password@host/database");
        match self.address(self.url.as_ref().ok_or_else(missing)?.expose())? {
            DatabaseUrl::Sqlite(_) => Err(ConfigError::new(
                URL,
                "only one process can use a SQLite file; use postgres://, or run pp_standalone",
            )),
            shared => Ok(shared),
        }
    }

    fn address(&self, url: &str) -> Result<DatabaseUrl, ConfigError> {
        let address = DatabaseUrl::parse(URL, url)?;
        let Some(direct) = &self.direct_url else {
            return Ok(address);
        };
        match (address, DatabaseUrl::parse(DIRECT_URL, direct.expose())?) {
            (DatabaseUrl::Postgres(url), DatabaseUrl::Postgres(direct)) => {
                if has_option(&url, "options") {
                    let why = "poolers refuse `options`; set it for the role with ALTER ROLE … SET";
                    return Err(ConfigError::new(URL, why));
                }
                Ok(DatabaseUrl::Pooled { url, direct })
            }
            (DatabaseUrl::Sqlite(_), _) => Err(ConfigError::new(
                DIRECT_URL,
                "PP_DATABASE_URL names a SQLite file; unset this one, or use a postgres:// URL there",
            )),
            (_, _) => Err(ConfigError::new(DIRECT_URL, "expected postgres://")),
        }
    }
}

/// A database. The scheme of the URL selects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// PostgreSQL.
    Postgres(Secret),
    /// PostgreSQL behind a connection pooler that shares the server's sessions.
    Pooled {
        /// The pooler.
        url: Secret,
        /// The server itself.
        direct: Secret,
    },
    /// A SQLite file, relative to the working folder or absolute.
    Sqlite(String),
}

impl DatabaseUrl {
    fn parse(variable: &'static str, text: &str) -> Result<Self, ConfigError> {
        let wrong = |why: &str| ConfigError::new(variable, why);
        if let Some(file) = text.strip_prefix("sqlite://") {
            let usable = !file.is_empty() && !file.contains(['?', '\0']);
            return match usable {
                true if cfg!(feature = "sqlite") => Ok(Self::Sqlite(file.to_owned())),
                true => Err(wrong(&not_built_in("sqlite"))),
                false => Err(wrong("expected `sqlite://` and a file name")),
            };
        }
        let url = Url::parse(text).map_err(|error| wrong(&format!("not a URL: {error}")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong(&format!(
                "unknown scheme `{}`, expected postgres:// or sqlite://",
                url.scheme()
            )));
        }
        if !cfg!(feature = "postgres") {
            return Err(wrong(&not_built_in("postgres")));
        }
        #[cfg(feature = "postgres")]
        pp_lib::store::postgres::Encryption::of(text).map_err(|why| wrong(&why))?;
        Ok(Self::Postgres(Secret::from(text)))
    }
}

fn has_option(url: &Secret, name: &str) -> bool {
    Url::parse(url.expose()).is_ok_and(|url| url.query_pairs().any(|(key, _)| key == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str, direct: Option<&str>) -> DatabaseArgs {
        DatabaseArgs {
            url: Some(Secret::from(url)),
            direct_url: direct.map(Secret::from),
            pool: 1,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_scheme_selects_the_database() {
        let parse = |text| DatabaseUrl::parse(URL, text);
        assert!(matches!(parse("postgres://u:p@h:1/d"), Ok(DatabaseUrl::Postgres(_))));
        assert!(matches!(
            parse("postgresql://h/d?sslmode=verify-full"),
            Ok(DatabaseUrl::Postgres(_))
        ));
        assert_eq!(
            parse("sqlite://data/pp.sqlite"),
            Ok(DatabaseUrl::Sqlite("data/pp.sqlite".into()))
        );
        assert_eq!(parse("sqlite:///tmp/x"), Ok(DatabaseUrl::Sqlite("/tmp/x".into())));
    }

    #[test]
    fn a_direct_url_makes_the_other_url_a_pooler() {
        let pooled = args("postgres://p/d", Some("postgres://h/d?options=-c%20a%3Db")).shared_address();
        let (url, direct) = (
            Secret::from("postgres://p/d"),
            Secret::from("postgres://h/d?options=-c%20a%3Db"),
        );
        assert_eq!(pooled, Ok(DatabaseUrl::Pooled { url, direct }));
    }

    #[test]
    fn an_error_names_the_variable_and_hides_the_password() {
        let good = "postgres://u:hunter2@h/d";
        let bad = [
            (URL, "", None),
            (URL, "data.sqlite", None),
            (URL, "mysql://u:hunter2@h/d", None),
            (URL, "sqlite://", None),
            (URL, "postgres://u:hunter2@h/d?sslmode=on", None),
            (URL, "postgres://u:hunter2@h/d?sslmode=require&sslkey=x", None),
            (URL, "postgres://u:hunter2@h/d?options=-c%20a%3Db", Some(good)),
            (DIRECT_URL, "sqlite://data/pp.sqlite", Some(good)),
            (DIRECT_URL, good, Some("sqlite://data/pp.sqlite")),
            (DIRECT_URL, good, Some("")),
            (DIRECT_URL, good, Some("postgres://u:hunter2@h/d?sslmode=on")),
        ];
        for (variable, url, direct) in bad {
            let error = args(url, direct).address_or("").unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{variable}: ")) && !error.contains("hunter2"),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1);
        }
    }
}
