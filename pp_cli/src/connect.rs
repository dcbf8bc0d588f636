//! Opens the adapters that the addresses select, and waits at start for servers that are not up yet.

use std::fmt::Display;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::time::timeout;

use crate::config::{BrokerArgs, BrokerUrl, CacheArgs, CacheUrl, DatabaseArgs, DatabaseUrl, DurationText, Secret};
use pp_lib::broker::memory::Memory;
use pp_lib::broker::rabbitmq::{Management, RabbitMq, RabbitMqConfig};
use pp_lib::broker::{AnyBroker, BrokerError};
use pp_lib::cache::memory::MemoryCache;
use pp_lib::cache::redis::RedisCache;
use pp_lib::cache::{AnyCache, CacheOptions};
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::feed::postgres::PostgresFeed;
use pp_lib::serving::{Caches, Near};
use pp_lib::store::postgres::{PostgresConfig, PostgresStore};
use pp_lib::store::sqlite::SqliteStore;
use pp_lib::store::{AnyStore, Store as _, StoreError};

/// The reason why a program cannot start, in one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// The permission to change the schema of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Updates the schema, and creates a missing SQLite file.
    Migrate,
    /// Checks that the schema is known.
    Check,
}

/// Opens a database. It waits up to `max_wait` for a server that is not up yet.
pub async fn store(
    address: &DatabaseUrl,
    args: &DatabaseArgs,
    schema: Schema,
    max_wait: Duration,
) -> Result<AnyStore, StartError> {
    match address {
        DatabaseUrl::Sqlite(file) => sqlite(file, args, schema)
            .await
            .map_err(|why| wrong("PP_DATABASE_URL", why)),
        DatabaseUrl::Postgres(url) => Ok(Arc::new(
            postgres("PP_DATABASE_URL", url, args.pool, args, schema, max_wait).await?,
        )),
        DatabaseUrl::Pooled { url, direct } => {
            let direct = postgres("PP_DATABASE_DIRECT_URL", direct, 1, args, schema, max_wait).await?;
            let connect = || PostgresStore::open_pooled(postgres_config(url, args.pool, args), &direct);
            let store = wait_for_postgres("PP_DATABASE_URL", max_wait, connect).await?;
            Ok(Arc::new(store))
        }
    }
}

/// The feed of a database.
pub fn feed(address: &DatabaseUrl) -> Result<AnyFeed, StartError> {
    let (variable, url) = match address {
        DatabaseUrl::Sqlite(_) => return Ok(Arc::new(MemoryFeed::new())),
        DatabaseUrl::Postgres(url) => ("PP_DATABASE_URL", url),
        DatabaseUrl::Pooled { direct, .. } => ("PP_DATABASE_DIRECT_URL", direct),
    };
    match PostgresFeed::connect(url.expose()) {
        Ok(feed) => Ok(Arc::new(feed)),
        Err(error) => Err(wrong(variable, error.to_string())),
    }
}

/// Opens a broker. It waits up to `max_wait` for a server that is not up yet.
pub async fn broker(address: &BrokerUrl, args: &BrokerArgs, max_wait: Duration) -> Result<AnyBroker, StartError> {
    let BrokerUrl::RabbitMq(url) = address else {
        return Ok(Arc::new(Memory::default()));
    };
    check_management(args, url)?;
    let connect = || RabbitMq::connect(url.expose(), args.queue_names(), rabbitmq_config(args));
    let broker = wait_for("RabbitMQ", max_wait, connect, |error| {
        matches!(error, BrokerError::Unavailable(_))
    })
    .await;
    broker
        .map(|broker| Arc::new(broker) as AnyBroker)
        .map_err(|why| wrong("PP_BROKER_URL", why))
}

/// A broker that connects at its first use. An unreachable broker neither delays nor ends the start.
pub fn broker_when_needed(address: &BrokerUrl, args: &BrokerArgs) -> Result<AnyBroker, StartError> {
    let BrokerUrl::RabbitMq(url) = address else {
        return Ok(Arc::new(Memory::default()));
    };
    check_management(args, url)?;
    match RabbitMq::without_connection(url.expose(), args.queue_names(), rabbitmq_config(args)) {
        Ok(broker) => Ok(Arc::new(broker)),
        Err(error) => Err(wrong("PP_BROKER_URL", error.to_string())),
    }
}

fn rabbitmq_config(args: &BrokerArgs) -> RabbitMqConfig {
    RabbitMqConfig {
        management: args.management_url().map(|url| url.expose().to_owned()),
        ..RabbitMqConfig::default()
    }
}

/// Reports an invalid management address under its own variable.
fn check_management(args: &BrokerArgs, broker: &Secret) -> Result<(), StartError> {
    let Some(url) = args.management_url() else {
        return Ok(());
    };
    let management = Management::new(url.expose(), broker.expose());
    management
        .map(|_| ())
        .map_err(|error| wrong("PP_BROKER_MANAGEMENT_URL", error.to_string()))
}

/// Opens the caches of a process. A near cache is opened only in front of a shared cache.
pub fn caches(address: &CacheUrl, args: &CacheArgs) -> Result<Caches, StartError> {
    let cache = cache(address, &args.prefix, args.options())?;
    let near = (args.near() && cache.shared()).then(|| {
        let memory = Arc::new(MemoryCache::new(args.options()));
        Arc::new(Near::new(memory, args.staleness))
    });
    Ok(Caches {
        cache,
        near,
        staleness: args.staleness,
    })
}

/// Opens a cache. It does not wait for the server.
fn cache(address: &CacheUrl, prefix: &str, options: CacheOptions) -> Result<AnyCache, StartError> {
    match address {
        CacheUrl::Memory => Ok(Arc::new(MemoryCache::new(options))),
        CacheUrl::Redis(url) => match RedisCache::connect(url.expose(), prefix, options, RedisCache::TIMEOUT) {
            Ok(cache) => Ok(Arc::new(cache)),
            Err(error) => Err(wrong("PP_CACHE_URL", error.to_string())),
        },
    }
}

async fn sqlite(file: &str, args: &DatabaseArgs, schema: Schema) -> Result<AnyStore, String> {
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

/// Opens the PostgreSQL server of a variable. Each connection has its own session.
async fn postgres(
    variable: &str,
    url: &Secret,
    pool: u32,
    args: &DatabaseArgs,
    schema: Schema,
    max_wait: Duration,
) -> Result<PostgresStore, StartError> {
    let connect = || async {
        let store = PostgresStore::open(postgres_config(url, pool, args)).await?;
        match schema {
            Schema::Migrate => store.migrate(max_wait).await?,
            Schema::Check => store.check().await?,
        }
        Ok(store)
    };
    wait_for_postgres(variable, max_wait, connect).await
}

fn postgres_config(url: &Secret, pool: u32, args: &DatabaseArgs) -> PostgresConfig {
    PostgresConfig {
        url: url.expose().to_owned(),
        pool,
        timeout: args.timeout,
    }
}

async fn wait_for_postgres<F>(
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

/// Retries until it succeeds, fails for good or `max_wait` ends. It logs the first failure and the result.
async fn wait_for<T, E, F>(
    server: &str,
    max_wait: Duration,
    connect: impl FnMut() -> F,
    worth_waiting: impl FnMut(&E) -> bool,
) -> Result<T, String>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let backoff = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    let mut last = String::new();
    let connected = connect.retry(backoff).when(worth_waiting).notify(|error, _| {
        if last.is_empty() {
            log::info!("waiting for {server}, at most {}: {error}", DurationText(max_wait));
        }
        last = error.to_string();
    });
    match timeout(max_wait, connected).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) if last.is_empty() => Err(format!("{server} did not answer within {}", DurationText(max_wait))),
        Err(_) => Err(format!(
            "{server} could not be reached within {}: {last}",
            DurationText(max_wait)
        )),
    }
}

fn wrong(variable: &str, why: String) -> StartError {
    StartError(format!("{variable}: {why}"))
}
