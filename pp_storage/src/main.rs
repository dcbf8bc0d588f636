//! `pp_storage migrate`: makes the database where it is missing and brings its schema up to date.
//!
//! Only the command line and the connection are here; what is applied, and how, is the library's.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what this program prints is its result"
)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::sql_types::{Bool, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, ConnectionError, QueryableByName, RunQueryDsl as _, sql_query};
use url::Url;

/// How long to wait for a service that changes the schema at the same time.
const PATIENCE: Duration = Duration::from_secs(60);

/// The schema of PP.
#[derive(Parser)]
#[command(version)]
enum Args {
    /// Creates a PostgreSQL database that is not there yet, then applies the migrations that are missing.
    Migrate {
        /// `postgres://user:password@host:port/database`, or `sqlite://` and a file.
        #[arg(long, env = "PP_DATABASE_URL", hide_env_values = true)]
        database_url: Option<String>,
    },
}

fn main() -> ExitCode {
    let Args::Migrate { database_url } = Args::parse();
    match migrate(database_url.as_deref().unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: PP_DATABASE_URL: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Errors are one line and never quote the URL: there is a password in it.
fn migrate(url: &str) -> Result<(), String> {
    let applied = match url.split_once("://") {
        None if url.is_empty() => return Err("not set; for example postgres://user:password@host/database".to_owned()),
        Some(("postgres" | "postgresql", _)) => {
            let mut connection = postgres(url)?;
            pp_storage::migrate_postgres(&mut connection, PATIENCE)
        }
        Some(("sqlite", file)) if !file.is_empty() => {
            let mut connection = SqliteConnection::establish(file).map_err(|error| format!("{file}: {error}"))?;
            connection
                .batch_execute("PRAGMA busy_timeout = 5000")
                .map_err(|error| format!("{file}: {error}"))?;
            pp_storage::migrate_sqlite(&mut connection)
        }
        _ => return Err("expected postgres:// or sqlite://".to_owned()),
    };
    let applied = applied.map_err(|error| error.to_string())?;
    for name in &applied {
        println!("applied {name}");
    }
    if applied.is_empty() {
        println!("the schema was up to date");
    }
    Ok(())
}

/// A connection to the database that the URL names, which is created when it is all that is missing.
fn postgres(url: &str) -> Result<PgConnection, String> {
    let first = match PgConnection::establish(url) {
        Ok(connection) => return Ok(connection),
        Err(error) => in_words(&error),
    };
    let mut maintenance = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    let name = maintenance.path().trim_start_matches('/').to_owned();
    if name.is_empty() || name.contains(['/', '%']) {
        return Err(first);
    }
    maintenance.set_path("postgres");
    // Where even this is refused, the database was not all that is missing.
    let Ok(mut server) = PgConnection::establish(maintenance.as_str()) else {
        return Err(first);
    };
    if !exists(&mut server, &name)? {
        let quoted = name.replace('"', "\"\"");
        match server.batch_execute(&format!("CREATE DATABASE \"{quoted}\"")) {
            Ok(()) => println!("created the database {name}"),
            // Somebody else was faster.
            Err(_) if exists(&mut server, &name)? => {}
            Err(error) => return Err(format!("the database {name} cannot be created: {error}")),
        }
    }
    PgConnection::establish(url).map_err(|error| in_words(&error))
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

/// What the client library says about a server may be shown; what it says about a URL quotes it.
fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::BadConnection(text)
            if text.starts_with("connection to server") || text.starts_with("could not translate host name") =>
        {
            text.trim_end().replace('\n', " ")
        }
        _ => "the URL is not one that PostgreSQL's client understands".to_owned(),
    }
}
