//! From addresses to adapters: the scheme alone decides, and a server that is not there yet is waited for.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::memory::MemoryBroker;
use crate::broker::queues::QueueNames;
use crate::broker::rabbitmq::RabbitMq;
use crate::broker::{AnyBroker, BrokerError};
use crate::config::{BrokerUrl, DatabaseArgs, DatabaseUrl};
use crate::feed::AnyFeed;
use crate::feed::memory::MemoryFeed;
use crate::feed::postgres::PostgresFeed;
use crate::store::postgres::{PostgresConfig, PostgresStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{AnyStore, StoreError};

/// Why a program cannot start: one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// Whether a program may change the schema of a database it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// It brings the schema up to date.
    Migrate,
    /// It only makes sure that it knows the schema.
    Check,
}
