//! PostgreSQL, RabbitMQ and Redis for whoever asks: private instances from the system's packages, or containers.
//!
//! [`PrivateServers`] is what tests of faults use: each server can be stopped, killed, frozen and started again on the same
//! port. [`Provided`] is one level above and takes whatever means is at hand. How each server is set up is in the file
//! named by it; nothing here knows what PP stores in them.

mod answer;
pub(crate) mod folder;
mod instance;
mod postgres;
mod private;
mod provided;
mod rabbitmq;
mod redis;
mod sweep;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

pub use answer::{answers, redis_command};
pub use private::{PrivateServers, TLS};
pub use provided::{Choice, Provided};

/// The user that the servers know, and the name of PostgreSQL's database.
pub const USER: &str = "pp";

/// The three servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// PostgreSQL, the store.
    Postgres,
    /// RabbitMQ, the broker.
    RabbitMq,
    /// Redis, the cache.
    Redis,
}

impl Kind {
    /// All of them. RabbitMQ takes longest to start and so comes first.
    pub const ALL: [Self; 3] = [Self::RabbitMq, Self::Redis, Self::Postgres];

    /// As it is called in folders, logs, tables and as a container.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::RabbitMq => "rabbitmq",
            Self::Redis => "redis",
        }
    }

    /// The Debian package with the server.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::RabbitMq => "rabbitmq-server",
            Self::Redis => "redis-server",
        }
    }

    /// The account that the package brings along.
    pub const fn system_user(self) -> &'static str {
        self.name()
    }

    /// The variable in which tests find this server.
    pub const fn test_variable(self) -> &'static str {
        match self {
            Self::Postgres => "PP_TEST_POSTGRES_URL",
            Self::RabbitMq => "PP_TEST_RABBITMQ_URL",
            Self::Redis => "PP_TEST_REDIS_URL",
        }
    }

    /// The variable in which PP's services find this server.
    pub const fn service_variable(self) -> &'static str {
        match self {
            Self::Postgres => "PP_DATABASE_URL",
            Self::RabbitMq => "PP_BROKER_URL",
            Self::Redis => "PP_CACHE_URL",
        }
    }

    /// The signals that a private instance is stopped with, and the time each may take.
    const fn stop_steps(self) -> &'static [(Signal, Duration)] {
        match self {
            Self::Postgres => postgres::STOP,
            Self::RabbitMq => rabbitmq::STOP,
            Self::Redis => redis::STOP,
        }
    }

    /// The URL of such a server on this machine.
    pub(crate) fn url(self, port: u16, password: &str) -> String {
        match self {
            Self::Postgres => format!("postgres://{USER}:{password}@127.0.0.1:{port}/{USER}"),
            Self::RabbitMq => format!("amqp://{USER}:{password}@127.0.0.1:{port}/%2f"),
            // The user is named because redis-cli takes an empty name for a name.
            Self::Redis => format!("redis://default:{password}@127.0.0.1:{port}/0"),
        }
    }

    /// The URL of such a server with TLS. psql does not know what PP trusts, so it is told of `authority`.
    pub(crate) fn url_with_tls(self, port: u16, password: &str, authority: Option<&Path>) -> String {
        let authority = authority.map(|file| format!("&sslrootcert={}", file.display()));
        let authority = authority.unwrap_or_default();
        match self {
            Self::Postgres => {
                format!("postgres://{USER}:{password}@localhost:{port}/{USER}?sslmode=verify-full{authority}")
            }
            Self::RabbitMq => format!("amqps://{USER}:{password}@localhost:{port}/%2f"),
            Self::Redis => format!("rediss://default:{password}@localhost:{port}/0"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::RabbitMq => "RabbitMQ",
            Self::Redis => "Redis",
        })
    }
}
