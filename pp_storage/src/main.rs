//! The command line of the schema. `pp_storage migrate` creates a missing database and updates its schema. `pp_storage
//! import` does the same and then copies the works of another project.
//!
//! Migrations and import themselves are in the library.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what this program prints is its result"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::sql_types::{Bool, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, sql_query};
use pp_storage::{Encryption, Imported, Target, connect_postgres};
use pp_tls::Trust;
use url::Url;

/// The time to wait for a service that is changing the schema.
const MAX_WAIT: Duration = Duration::from_secs(60);

const POOLER: &str = "this is a connection pooler in transaction or statement mode, but migrations need the server \
    itself; name the server in PP_DATABASE_DIRECT_URL";

/// The exit code for an unusable setting.
const USAGE: u8 = 2;

/// The schema of PP.
#[derive(Parser)]
#[command(version)]
enum Args {
    /// Creates a missing PostgreSQL database, then applies missing migrations.
    Migrate {
        #[command(flatten)]
        database: Database,
    },
    /// Migrates, then copies works and events from a database of the original project. Works whose code already exists
    /// are
    /// skipped, so the import can be repeated.
    Import {
        /// The database to copy from, which is only read: `postgres://user:password@host:port/database`.
        #[arg(long, value_name = "URL")]
        from: String,
        /// The database to copy into, as for `migrate`.
        #[command(flatten)]
        database: Database,
    },
}

#[derive(clap::Args)]
struct Database {
    /// `postgres://user:password@host:port/database`, or `sqlite://` and a file.
    #[arg(long, env = "PP_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The server itself, if `PP_DATABASE_URL` names a connection pooler in transaction mode.
    #[arg(long, env = "PP_DATABASE_DIRECT_URL", hide_env_values = true)]
    database_direct_url: Option<String>,

    /// A PEM file with authorities that are trusted beside those of this system.
    #[arg(long, env = "PP_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

impl Database {
    fn trust(&self) -> Result<Trust, Failure> {
        let own = self.tls_ca.as_deref().map(Trust::also).transpose();
        Ok(own
            .map_err(|error| Failure::setting(format!("PP_TLS_CA: {error}")))?
            .unwrap_or_default())
    }

    /// The URL of the database without a pooler, and the variable that sets it.
    fn direct(self) -> Result<(&'static str, String), Failure> {
        let url = self.database_url.unwrap_or_default();
        let Some(direct) = self.database_direct_url else {
            return Ok(("PP_DATABASE_URL", url));
        };
        let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_postgres(&direct) {
            return Err(Failure::setting("PP_DATABASE_DIRECT_URL: expected postgres://"));
        }
        if !url.is_empty() && !is_postgres(&url) {
            return Err(Failure::setting(
                "PP_DATABASE_DIRECT_URL: needs a postgres:// URL in PP_DATABASE_URL",
            ));
        }
        Ok(("PP_DATABASE_DIRECT_URL", direct))
    }
}

fn main() -> ExitCode {
    let done = match Args::parse() {
        Args::Migrate { database } => migrate(database).map(drop),
        Args::Import { from, database } => import(&from, database),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { why, code }) => {
            eprintln!("error: {why}");
            ExitCode::from(code)
        }
    }
}

/// An error in one line. It never quotes a URL, because a URL contains a password.
struct Failure {
    why: String,
    code: u8,
}

impl Failure {
    /// An unusable setting.
    fn setting(why: impl Into<String>) -> Self {
        let (why, code) = (why.into(), USAGE);
        Self { why, code }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, code: 1 }
    }
}

fn migrate(database: Database) -> Result<Target, Failure> {
    let trust = database.trust()?;
    let (variable, url) = database.direct()?;
    let (target, applied) = migrated(&url, &trust).map_err(|failure| Failure {
        why: format!("{variable}: {}", failure.why),
        ..failure
    })?;
    for name in &applied {
        println!("applied {name}");
    }
    if applied.is_empty() {
        println!("the schema was up to date");
    }
    Ok(target)
}

/// Opens the database, and answers it with the names of applied migrations.
fn migrated(url: &str, trust: &Trust) -> Result<(Target, Vec<String>), Failure> {
    let said = |error: pp_storage::SchemaError| error.to_string();
    match url.split_once("://") {
        None if url.is_empty() => Err(Failure::setting(
            "not set; for example postgres://user:password@host/database",
        )),
        Some(("postgres" | "postgresql", _)) => {
            Encryption::of(url).map_err(Failure::setting)?;
            let mut connection = postgres(url, trust)?;
            let (again, trust) = (url.to_owned(), trust.clone());
            if pp_storage::sessions_are_shared(move || connect_postgres(&again, &trust))? {
                return Err(Failure::setting(POOLER));
            }
            let mut progress = |line| eprintln!("{line}");
            let applied = pp_storage::migrate_postgres(&mut connection, MAX_WAIT, &mut progress).map_err(said)?;
            Ok((Target::Postgres(connection), applied))
        }
        Some(("sqlite", file)) if !file.is_empty() => {
            let mut connection = SqliteConnection::establish(file).map_err(|error| format!("{file}: {error}"))?;
            connection
                .batch_execute("PRAGMA busy_timeout = 5000")
                .map_err(|error| format!("{file}: {error}"))?;
            let applied = pp_storage::migrate_sqlite(&mut connection).map_err(said)?;
            Ok((Target::Sqlite(connection), applied))
        }
        Some(("sqlite", _)) => Err(Failure::setting("expected `sqlite://` and a file name")),
        _ => Err(Failure::setting(match url.split_once(':') {
            Some((scheme, _)) => format!("unknown scheme `{scheme}`, expected postgres:// or sqlite://"),
            None => "not a URL: relative URL without a base".to_owned(),
        })),
    }
}

fn import(from: &str, database: Database) -> Result<(), Failure> {
    if !matches!(from.split_once("://"), Some(("postgres" | "postgresql", _))) {
        return Err(Failure::setting("--from: expected postgres://"));
    }
    let source = connect_postgres(from, &database.trust()?);
    let mut source = source.map_err(|why| format!("--from: {why}"))?;
    let mut target = migrate(database)?;
    let imported = pp_storage::import(&mut source, &mut target).map_err(|error| error.to_string())?;
    let Imported {
        works,
        events,
        done,
        present,
        left_out,
        left_out_ids,
    } = imported;
    println!("imported {works} works, {done} of them done, with {events} events; {present} existed already");
    if left_out > 0 {
        let ids: Vec<String> = left_out_ids.iter().map(ToString::to_string).collect();
        let more = if left_out as usize > ids.len() { ", …" } else { "" };
        let ids = ids.join(", ");
        println!("skipped {left_out} works whose code or bound is invalid in PP, with the ids {ids}{more}");
    }
    Ok(())
}

/// Connects to the database of the URL. If only the database is missing, it is created.
fn postgres(url: &str, trust: &Trust) -> Result<PgConnection, String> {
    let first = match connect_postgres(url, trust) {
        Ok(connection) => return Ok(connection),
        Err(why) => why,
    };
    let mut maintenance = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    let name = maintenance.path().trim_start_matches('/').to_owned();
    if name.is_empty() || name.contains(['/', '%']) {
        return Err(first);
    }
    maintenance.set_path("postgres");
    // If this connection fails too, more than the database is missing.
    let Ok(mut server) = connect_postgres(maintenance.as_str(), trust) else {
        return Err(first);
    };
    if !exists(&mut server, &name)? {
        let quoted = name.replace('"', "\"\"");
        match server.batch_execute(&format!("CREATE DATABASE \"{quoted}\"")) {
            Ok(()) => println!("created the database {name}"),
            // Another process was faster.
            Err(_) if exists(&mut server, &name)? => {}
            Err(error) => return Err(format!("the database {name} cannot be created: {error}")),
        }
    }
    connect_postgres(url, trust)
}

fn exists(server: &mut PgConnection, name: &str) -> Result<bool, String> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Bool)]
        found: bool,
    }

    sql_query("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS found")
        .bind::<Text, _>(name)
        .get_result(server)
        .map(|Answer { found }| found)
        .map_err(|error| error.to_string())
}
