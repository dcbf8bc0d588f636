//! Opens the adapters that the addresses select, and waits at start for servers that are not up yet.
//!
//! An adapter whose feature is off has a stand-in in [`absent`].

mod absent;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "rabbitmq"))]
mod wait;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{BrokerArgs, BrokerUrl, CacheArgs, CacheUrl, DatabaseArgs, DatabaseUrl};
use pp_lib::broker::AnyBroker;
use pp_lib::broker::memory::Memory;
use pp_lib::broker::rows::Rows;
use pp_lib::cache::memory::MemoryCache;
use pp_lib::feed::AnyFeed;
use pp_lib::feed::memory::MemoryFeed;
use pp_lib::serving::{Caches, Near};
use pp_lib::store::AnyStore;
use pp_lib::tls::Trust;

#[cfg(not(feature = "postgres"))]
use self::absent::postgres;
#[cfg(not(feature = "rabbitmq"))]
use self::absent::rabbitmq;
#[cfg(not(feature = "redis"))]
use self::absent::redis;
#[cfg(not(feature = "sqlite"))]
use self::absent::sqlite;

/// The reason why a program cannot start, in one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{line}")]
pub struct StartError {
    line: String,
    is_unavailable: bool,
}

impl StartError {
    /// True if the server was not there in time, and may come.
    pub fn is_unavailable(&self) -> bool {
        self.is_unavailable
    }
}

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
    trust: &Trust,
    schema: Schema,
    max_wait: Duration,
) -> Result<AnyStore, StartError> {
    match address {
        DatabaseUrl::Sqlite(file) => sqlite::store(file, args, schema).await,
        DatabaseUrl::Postgres(url) => postgres::store(url, None, args, trust, schema, max_wait).await,
        DatabaseUrl::Pooled { url, direct } => postgres::store(url, Some(direct), args, trust, schema, max_wait).await,
    }
}

/// The feed of a database.
pub fn feed(address: &DatabaseUrl, trust: &Trust) -> Result<AnyFeed, StartError> {
    match address {
        DatabaseUrl::Sqlite(_) => Ok(Arc::new(MemoryFeed::new())),
        DatabaseUrl::Postgres(url) => postgres::feed("PP_DATABASE_URL", url, trust),
        DatabaseUrl::Pooled { direct, .. } => postgres::feed("PP_DATABASE_DIRECT_URL", direct, trust),
    }
}

/// Opens a broker. It waits up to `max_wait` for a server that is not up yet.
pub async fn broker(
    address: &BrokerUrl,
    args: &BrokerArgs,
    trust: &Trust,
    max_wait: Duration,
) -> Result<AnyBroker, StartError> {
    match address {
        BrokerUrl::Memory => Ok(Arc::new(Memory::default())),
        BrokerUrl::Database => Ok(Arc::new(Rows)),
        BrokerUrl::RabbitMq(url) => rabbitmq::broker(url, args, trust, max_wait).await,
    }
}

/// A broker that connects at its first use. An unreachable broker neither delays nor ends the start.
pub fn broker_when_needed(address: &BrokerUrl, args: &BrokerArgs, trust: &Trust) -> Result<AnyBroker, StartError> {
    match address {
        BrokerUrl::Memory => Ok(Arc::new(Memory::default())),
        BrokerUrl::Database => Ok(Arc::new(Rows)),
        BrokerUrl::RabbitMq(url) => rabbitmq::broker_when_needed(url, args, trust),
    }
}

/// Opens the caches of a process. It does not wait for the server. A near cache is opened only in front of a shared
/// cache.
pub fn caches(address: &CacheUrl, args: &CacheArgs, trust: &Trust) -> Result<Caches, StartError> {
    let memory = || Arc::new(MemoryCache::new(args.options()));
    let cache = match address {
        CacheUrl::Memory => memory(),
        CacheUrl::Redis(url) => redis::cache(url, args, trust)?,
    };
    let near = (args.near() && cache.shared()).then(|| Arc::new(Near::new(memory(), args.staleness)));
    Ok(Caches {
        cache,
        near,
        staleness: args.staleness,
    })
}

fn wrong(variable: &str, why: String) -> StartError {
    StartError {
        line: format!("{variable}: {why}"),
        is_unavailable: false,
    }
}
