//! Where the database is and how long to wait for it.

use std::time::Duration;

use clap::Args;
use url::Url;

use super::{ConfigError, Secret, duration, whole};

/// The settings of the store.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// `postgres://user:password@host:port/database`, or `sqlite://` and a file.
    #[arg(
        id = "database_url",
        long = "database-url",
        value_name = "URL",
        env = "PP_DATABASE_URL",
        hide_env_values = true
    )]
    url: Option<Secret>,

    /// Connections to PostgreSQL, or readers of a SQLite file.
    #[arg(id = "database_pool", long = "database-pool", value_name = "COUNT", env = "PP_DATABASE_POOL", default_value = "8", value_parser = whole(1..=200_u32))]
    pub pool: u32,

    /// How long one call may take, waiting for a connection and repeats included [unit: duration, as in 5s].
    #[arg(id = "database_timeout", long = "database-timeout", value_name = "DURATION", env = "PP_DATABASE_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

impl DatabaseArgs {
    /// Which database was named, or the default one.
    pub fn address_or(&self, default: &str) -> Result<DatabaseUrl, ConfigError> {
        DatabaseUrl::parse(self.url.as_ref().map_or(default, Secret::expose))
    }

    /// Which database was named, for a program that shares it with others.
    pub fn shared_address(&self) -> Result<DatabaseUrl, ConfigError> {
        let missing = || ConfigError::missing("PP_DATABASE_URL", "postgres://user:password@host/database");
        match DatabaseUrl::parse(self.url.as_ref().ok_or_else(missing)?.expose())? {
            DatabaseUrl::Sqlite(_) => Err(ConfigError::new(
                "PP_DATABASE_URL",
                "one process at a time can use a SQLite file; this one needs postgres://, pp_standalone does not",
            )),
            shared @ DatabaseUrl::Postgres(_) => Ok(shared),
        }
    }
}

/// A database, by what its URL's scheme says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// PostgreSQL.
    Postgres(Secret),
    /// A SQLite file, relative to the working folder or absolute.
    Sqlite(String),
}

impl DatabaseUrl {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |why: &str| ConfigError::new("PP_DATABASE_URL", why);
        if let Some(file) = text.strip_prefix("sqlite://") {
            let usable = !file.is_empty() && !file.contains(['?', '\0']);
            return usable
                .then(|| Self::Sqlite(file.to_owned()))
                .ok_or(wrong("expected `sqlite://` and a file"));
        }
        let url = Url::parse(text).map_err(|error| wrong(&format!("not a URL: {error}")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong(&format!(
                "unknown scheme `{}`, expected postgres:// or sqlite://",
                url.scheme()
            )));
        }
        let mut options = url.query_pairs();
        if options.any(|(key, value)| key == "sslmode" && matches!(&*value, "require" | "verify-ca" | "verify-full")) {
            return Err(wrong("`sslmode` asks for TLS, which this program was built without"));
        }
        Ok(Self::Postgres(Secret::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_alone_decides() {
        assert!(matches!(
            DatabaseUrl::parse("postgres://u:p@h:1/d"),
            Ok(DatabaseUrl::Postgres(_))
        ));
        assert!(matches!(
            DatabaseUrl::parse("postgresql://h/d?sslmode=disable"),
            Ok(DatabaseUrl::Postgres(_))
        ));
        assert_eq!(
            DatabaseUrl::parse("sqlite://data/pp.sqlite"),
            Ok(DatabaseUrl::Sqlite("data/pp.sqlite".into()))
        );
        assert_eq!(
            DatabaseUrl::parse("sqlite:///tmp/x"),
            Ok(DatabaseUrl::Sqlite("/tmp/x".into()))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_the_variable_and_without_the_password() {
        let bad = [
            "",
            "data.sqlite",
            "mysql://u:hunter2@h/d",
            "sqlite://",
            "postgres://u:hunter2@h/d?sslmode=require",
        ];
        for text in bad {
            let error = DatabaseUrl::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("PP_DATABASE_URL: ") && !error.contains("hunter2"),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1);
        }
    }
}
