//! The embedded migrations of both databases, and their application.
//!
//! `pp_lib::store` has the statements that use the schema. `import` copies a database of the original project into it.

mod fill;
mod import;
mod pooler;

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use diesel::backend::Backend;
use diesel::connection::LoadConnection;
use diesel::migration::MigrationSource;
use diesel::pg::{Pg, PgConnection};
use diesel::query_builder::SqlQuery;
use diesel::query_dsl::LoadQuery;
use diesel::sql_types::{Bool, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryResult, QueryableByName, RunQueryDsl as _, sql_query};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

pub use import::{ImportError, Imported, Target, import};
pub use pooler::sessions_are_shared;

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The advisory lock that lets one service migrate at a time. The number is arbitrary but must never change.
const LOCK: i64 = 0x7070_5f73_746f_7261;

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

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Bool)]
    locked: bool,
}

#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Bool)]
    may_migrate: bool,
    #[diesel(sql_type = Bool)]
    is_empty: bool,
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Applies missing migrations on PostgreSQL and answers their names in order. Services that start together take turns,
/// and each waits at most `max_wait`. If no migration is missing, the right to read is enough.
///
/// Filling the columns of many existing works takes long; `progress` then gets lines for the operator.
///
/// The lock is polled. A wait inside the database would be a transaction, and `CREATE INDEX CONCURRENTLY` would wait
/// for it.
pub fn migrate_postgres(
    connection: &mut PgConnection,
    max_wait: Duration,
    progress: &mut dyn FnMut(String),
) -> Result<Vec<String>, SchemaError> {
    if check_postgres(connection).is_ok() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + max_wait;
    while !sql_query(format!("SELECT pg_try_advisory_lock({LOCK}) AS locked"))
        .get_result::<Locked>(connection)?
        .locked
    {
        if Instant::now() >= deadline {
            return Err(SchemaError::Locked(max_wait));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let migrated = refuse_original(connection).and_then(|()| match may_apply(connection)? {
        true => run(connection, POSTGRES, &mut |connection, next| {
            if next == fill::NEEDED_BY {
                fill::fill(connection, progress)?;
            }
            Ok(())
        }),
        false => check_postgres(connection).map(|()| Vec::new()),
    });
    sql_query(format!("SELECT pg_advisory_unlock({LOCK}) AS locked")).get_result::<Locked>(connection)?;
    migrated
}

/// Refuses the database of the original project before anything is changed in it.
fn refuse_original(connection: &mut PgConnection) -> Result<(), SchemaError> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Bool)]
        found: bool,
    }

    let column = "EXISTS (SELECT FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'works' AND column_name =";
    let found = sql_query(format!(
        "SELECT {column} 'done') AND NOT {column} 'message_id') AS found"
    ))
    .get_result(connection)
    .map_err(|error: diesel::result::Error| SchemaError::Failed(error.to_string()))?;
    match found {
        Found { found: true } => Err(SchemaError::Original),
        Found { found: false } => Ok(()),
    }
}

/// True if this role may apply missing migrations: it may create tables and owns the existing ones. It is an error if
/// the role may not and migrations are missing.
fn may_apply(connection: &mut PgConnection) -> Result<bool, SchemaError> {
    let rights: Rights = sql_query(
        "SELECT to_regclass('__diesel_schema_migrations') IS NULL AS is_empty,
            coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AND NOT EXISTS (
                SELECT FROM pg_class
                WHERE oid IN (to_regclass('works'), to_regclass('__diesel_schema_migrations'))
                    AND NOT pg_has_role(relowner, 'USAGE')
            ) AS may_migrate",
    )
    .get_result(connection)?;
    if rights.may_migrate {
        return Ok(true);
    }
    let applied = if rights.is_empty {
        Vec::new()
    } else {
        applied_versions(connection)?
    };
    let known = MigrationSource::<Pg>::migrations(&POSTGRES).map_err(|error| SchemaError::Failed(error.to_string()))?;
    let lacking = known
        .iter()
        .filter(|migration| !applied.contains(&migration.name().version().to_string()));
    let mut lacking: Vec<String> = lacking.map(|migration| migration.name().to_string()).collect();
    lacking.sort_unstable();
    if lacking.is_empty() {
        return Ok(false);
    }
    Err(SchemaError::NotPermitted(lacking.join(", ")))
}

/// Applies missing migrations on SQLite and answers their names in order.
pub fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<Vec<String>, SchemaError> {
    run(connection, SQLITE, &mut |_, _| Ok(()))
}

/// Checks that PostgreSQL has exactly the schema of this program. It changes nothing.
pub fn check_postgres(connection: &mut PgConnection) -> Result<(), SchemaError> {
    check(connection, POSTGRES)
}

/// Checks that SQLite has exactly the schema of this program. It changes nothing.
pub fn check_sqlite(connection: &mut SqliteConnection) -> Result<(), SchemaError> {
    check(connection, SQLITE)
}

/// Applies missing migrations. `before` is called with the version of each.
fn run<C, B>(
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

fn check<C, B>(connection: &mut C, migrations: EmbeddedMigrations) -> Result<(), SchemaError>
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
fn applied_versions<C>(connection: &mut C) -> QueryResult<Vec<String>>
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
