//! PostgreSQL: the store, on a server or behind a pooler, and the feed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pp_lib::feed::AnyFeed;
use pp_lib::feed::postgres::PostgresFeed;
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use pp_lib::store::{AnyStore, Store as _, StoreError};

use super::wait::wait_for;
use super::{Schema, StartError, wrong};
use crate::config::{DatabaseArgs, Secret};

/// Opens the server, or the pooler in front of `direct`.
pub(super) async fn store(
    url: &Secret,
    direct: Option<&Secret>,
    args: &DatabaseArgs,
    schema: Schema,
    max_wait: Duration,
) -> Result<AnyStore, StartError> {
    let Some(direct) = direct else {
        let store = server("PP_DATABASE_URL", url, args.pool, args, schema, max_wait).await?;
        return Ok(Arc::new(store));
    };
    let direct = server("PP_DATABASE_DIRECT_URL", direct, 1, args, schema, max_wait).await?;
    let connect = || PostgresStore::open_pooled(config(url, args.pool, args), &direct);
    let store = wait_for_store("PP_DATABASE_URL", max_wait, connect).await?;
    Ok(Arc::new(store))
}

/// The feed of the server that a variable names.
pub(super) fn feed(variable: &str, url: &Secret) -> Result<AnyFeed, StartError> {
    match PostgresFeed::connect(url.expose()) {
        Ok(feed) => Ok(Arc::new(feed)),
        Err(error) => Err(wrong(variable, error.to_string())),
    }
}

/// Opens the server that a variable names. Each connection has its own session.
async fn server(
    variable: &str,
    url: &Secret,
    pool: u32,
    args: &DatabaseArgs,
    schema: Schema,
    max_wait: Duration,
) -> Result<PostgresStore, StartError> {
    let connect = || async {
        let store = PostgresStore::open(config(url, pool, args)).await?;
        match schema {
            Schema::Migrate => store.migrate(max_wait).await?,
            Schema::Check => store.check().await?,
        }
        Ok(store)
    };
    wait_for_store(variable, max_wait, connect).await
}

fn config(url: &Secret, pool: u32, args: &DatabaseArgs) -> PostgresConfig {
    PostgresConfig {
        url: url.expose().to_owned(),
        pool,
        timeout: args.timeout,
    }
}

async fn wait_for_store<F>(
    variable: &str,
    max_wait: Duration,
    connect: impl FnMut() -> F,
) -> Result<PostgresStore, StartError>
where
    F: Future<Output = Result<PostgresStore, StoreError>>,
{
    let store = wait_for("PostgreSQL", max_wait, connect, |error| {
        matches!(error, StoreError::Unavailable(_) | StoreError::Unwell(_))
    });
    store.await.map_err(|why| wrong(variable, why))
}
