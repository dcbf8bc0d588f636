//! The schema of a PostgreSQL database: one service at a time migrates it, if its role may.

mod connect;
mod fill;
mod pooler;

use std::thread;
use std::time::{Duration, Instant};

use diesel::migration::MigrationSource;
use diesel::pg::{Pg, PgConnection};
use diesel::sql_types::Bool;
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{SchemaError, apply};

pub use connect::{Encryption, SslMode, connect_postgres};
pub use pooler::sessions_are_shared;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The advisory lock that lets one service migrate at a time. The number is arbitrary but must never change.
const LOCK: i64 = 0x7070_5f73_746f_7261;

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
        true => apply::run(connection, MIGRATIONS, &mut |connection, next| {
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
        apply::applied_versions(connection)?
    };
    let known =
        MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(|error| SchemaError::Failed(error.to_string()))?;
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

/// Checks that PostgreSQL has exactly the schema of this program. It changes nothing.
pub fn check_postgres(connection: &mut PgConnection) -> Result<(), SchemaError> {
    apply::check(connection, MIGRATIONS)
}
