//! The schema of a SQLite file.

use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{SchemaError, apply};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Applies missing migrations on SQLite and answers their names in order.
pub fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<Vec<String>, SchemaError> {
    apply::run(connection, MIGRATIONS, &mut |_, _| Ok(()))
}

/// Checks that SQLite has exactly the schema of this program. It changes nothing.
pub fn check_sqlite(connection: &mut SqliteConnection) -> Result<(), SchemaError> {
    apply::check(connection, MIGRATIONS)
}
