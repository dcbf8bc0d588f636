//! SQLite: the store in a file. Its feed is the one in memory.

use std::path::Path;
use std::sync::Arc;

use pp_lib::store::sqlite::SqliteStore;
use pp_lib::store::{AnyStore, Store as _, StoreError};

use super::{Schema, StartError, wrong};
use crate::config::DatabaseArgs;

pub(super) async fn store(file: &str, args: &DatabaseArgs, schema: Schema) -> Result<AnyStore, StartError> {
    let opened = open(file, args, schema).await;
    opened.map_err(|why| wrong("PP_DATABASE_URL", why))
}

async fn open(file: &str, args: &DatabaseArgs, schema: Schema) -> Result<AnyStore, String> {
    if schema == Schema::Check && !Path::new(file).is_file() {
        return Err(format!("there is no database file {file}"));
    }
    let open = |error: StoreError| format!("{file}: {error}");
    // The check precedes the opening, because opening would change a file that belongs to another program.
    if schema == Schema::Check {
        SqliteStore::check_file(file).map_err(open)?;
    }
    let store = SqliteStore::open(file, args.pool, args.timeout).map_err(open)?;
    if schema == Schema::Migrate {
        store.migrate().await.map_err(open)?;
        // A server may accept writes later. A file that cannot be written stays that way.
        store.check_writes().await.map_err(open)?;
    }
    Ok(Arc::new(store))
}
