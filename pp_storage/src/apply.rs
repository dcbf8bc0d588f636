//! Applies and checks embedded migrations, the same on both databases.

use std::error::Error;

use diesel::backend::Backend;
use diesel::connection::LoadConnection;
use diesel::migration::MigrationSource;
use diesel::query_builder::SqlQuery;
use diesel::query_dsl::LoadQuery;
use diesel::sql_types::Text;
use diesel::{Connection, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use super::SchemaError;

#[derive(QueryableByName)]
pub(super) struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Applies missing migrations. `before` is called with the version of each.
pub(super) fn run<C, B>(
    connection: &mut C,
    migrations: EmbeddedMigrations,
    before: &mut dyn FnMut(&mut C, &str) -> QueryResult<()>,
) -> Result<Vec<String>, SchemaError>
where
    C: MigrationHarness<B>,
    B: Backend,
    EmbeddedMigrations: MigrationSource<B>,
{
    let failed = |error: Box<dyn Error + Send + Sync>| SchemaError::Failed(error.to_string());
    let known = known_versions::<B>(&migrations)?;
    let applied = connection.applied_migrations().map_err(failed)?;
    let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
    ensure_not_newer(&applied, &known)?;
    let pending = connection.pending_migrations(migrations).map_err(failed)?;
    let mut names = Vec::with_capacity(pending.len());
    for migration in pending {
        before(connection, &migration.name().version().to_string())?;
        connection.run_migration(&*migration).map_err(failed)?;
        names.push(migration.name().to_string());
    }
    Ok(names)
}

/// Checks that the database has exactly the schema of this program. It changes nothing.
pub(super) fn check<C, B>(connection: &mut C, migrations: EmbeddedMigrations) -> Result<(), SchemaError>
where
    C: Connection<Backend = B> + LoadConnection,
    B: Backend,
    EmbeddedMigrations: MigrationSource<B>,
    SqlQuery: for<'query> LoadQuery<'query, C, Applied>,
{
    let applied = applied_versions(connection)
        .map_err(|error| SchemaError::Unknown(format!("it has none that PP made: {error}")))?;
    let known = known_versions::<B>(&migrations)?;
    ensure_not_newer(&applied, &known)?;
    if applied == known {
        Ok(())
    } else {
        let (applied, known) = (applied.join(", "), known.join(", "));
        Err(SchemaError::Unknown(format!(
            "it has migrations {applied}, this program {known}"
        )))
    }
}

/// Reads diesel's own table directly, because a query through diesel would create it.
pub(super) fn applied_versions<C>(connection: &mut C) -> QueryResult<Vec<String>>
where
    C: Connection + LoadConnection,
    SqlQuery: for<'query> LoadQuery<'query, C, Applied>,
{
    let applied = sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version");
    let applied = applied.load::<Applied>(connection)?;
    Ok(applied.into_iter().map(|applied| applied.version).collect())
}

/// Refuses a schema changed by a newer program, because this program does not know its meaning.
fn ensure_not_newer(applied: &[String], known: &[String]) -> Result<(), SchemaError> {
    match applied.iter().find(|version| !known.contains(version)) {
        None => Ok(()),
        Some(newer) => Err(SchemaError::Newer(format!(
            "it has migration {newer}, this program knows {}",
            known.join(", ")
        ))),
    }
}

fn known_versions<B: Backend>(migrations: &EmbeddedMigrations) -> Result<Vec<String>, SchemaError>
where
    EmbeddedMigrations: MigrationSource<B>,
{
    let known = MigrationSource::<B>::migrations(migrations).map_err(|error| SchemaError::Failed(error.to_string()))?;
    let mut versions: Vec<String> = known
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect();
    versions.sort_unstable();
    Ok(versions)
}
