//! The embedded migrations of both databases and their application, and connections to PostgreSQL. Each database is a
//! feature of the crate.
//!
//! `pp_lib::store` has the statements that use the schema. `import` copies a database of the original project into it.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod apply;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod import;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::time::Duration;

#[cfg(all(feature = "postgres", feature = "sqlite"))]
pub use import::{ImportError, Imported, Target, import};
#[cfg(feature = "postgres")]
pub use postgres::{Encryption, SslMode, check_postgres, connect_postgres, migrate_postgres, sessions_are_shared};
#[cfg(feature = "sqlite")]
pub use sqlite::{check_sqlite, migrate_sqlite};

/// The reason why a schema is not the one this program needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A migration failed, or a query about migrations.
    #[error("the schema could not be updated: {0}")]
    Failed(String),
    /// Another service has held the migration lock for the whole wait.
    #[error("another service was still changing the schema after {0:?}")]
    Locked(Duration),
    /// The tables `works` and `events` belong to the original project.
    #[error(
        "its tables belong to the original project: create another database for PP, \
         and copy the works with `pp_storage import --from` and this URL"
    )]
    Original,
    /// The schema is older than this program, and the role may not change it.
    #[error("the schema lacks {0}, and this role may not change it: run `pp_storage migrate` as the role that owns it")]
    NotPermitted(String),
    /// The database has an unknown schema.
    #[error("the database's schema is not the one this program knows ({0})")]
    Unknown(String),
    /// A newer program has changed the schema.
    #[error("the database's schema is newer than this program ({0})")]
    Newer(String),
}

impl From<diesel::result::Error> for SchemaError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
