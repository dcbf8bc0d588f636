//! PostgreSQL: the store, on a server or behind a pooler, and the feed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pp_lib::feed::AnyFeed;
use pp_lib::feed::postgres::PostgresFeed;
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use pp_lib::store::{AnyStore, Store as _, StoreError};
use pp_lib::tls::Trust;

use super::wait::wait_for;
use super::{Schema, StartError, wrong};
use crate::config::{DatabaseArgs, Secret};

/// Opens the server, or the pooler in front of `direct`.
pub(super) async fn store(
    url: &Secret,
    direct: Option<&Secret>,
    args: &DatabaseArgs,
    trust: &Trust,
    schema: Schema,
    max_wait: Duration,
) -> Result<AnyStore, StartError> {
    let Some(direct) = direct else {
        let store = server("PP_DATABASE_URL", config(url, args.pool, args, trust), schema, max_wait).await?;
        return Ok(Arc::new(store));
    };
    let direct = server(
        "PP_DATABASE_DIRECT_URL",
        config(direct, 1, args, trust),
        schema,
        max_wait,
    )
    .await?;
    let connect = || PostgresStore::open_pooled(config(url, args.pool, args, trust), &direct);
    let store = wait_for_store("PP_DATABASE_URL", max_wait, connect).await?;
    Ok(Arc::new(store))
}

/// The feed of the server that a variable names.
pub(super) fn feed(variable: &str, url: &Secret, trust: &Trust) -> Result<AnyFeed, StartError> {
    match PostgresFeed::connect(url.expose(), trust) {
        Ok(feed) => Ok(Arc::new(feed)),
        Err(error) => Err(wrong(variable, error.to_string())),
    }
}

/// Opens the server that a variable names. Each connection has its own session.
async fn server(
    variable: &str,
    config: PostgresConfig,
    schema: Schema,
    max_wait: Duration,
) -> Result<PostgresStore, StartError> {
    let connect = || async {
        let store = PostgresStore::open(config.clone()).await?;
        match schema {
            Schema::Migrate => store.migrate(max_wait).await?,
            Schema::Check => store.check().await?,
        }
        Ok(store)
    };
    wait_for_store(variable, max_wait, connect).await
}

fn config(url: &Secret, pool: u32, args: &DatabaseArgs, trust: &Trust) -> PostgresConfig {
    PostgresConfig {
        url: url.expose().to_owned(),
        trust: trust.clone(),
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
    store.await.map_err(|missed| missed.of(variable))
}
