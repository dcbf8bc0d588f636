//! The queues and their arguments, which cannot change after a queue was created. Every connection declares the queues;
//! a user without that right only checks that they exist.
//!
//! They are durable quorum queues without a dead-letter exchange, because dead messages are published with a
//! confirmation instead. A queue that a user has named is used as it is if it exists. They have no delivery limit, because the row counts the attempts of a demand. Below 4.0 the
//! argument is left out, because -1 would drop a message at its first return. From 4.0 on it is -1, because the default
//! limit is 20. A queue created below 4.0 stays the same when the server is upgraded, and only a policy can lift its
//! limit.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Error};

use super::super::QueueState;
use super::connection::reply_code;
use super::greeting::MajorVersion;

const NOT_FOUND: u16 = 404;
/// The first version with a default limit. -1 disables it.
const DEFAULT_DELIVERY_LIMIT_SINCE: MajorVersion = MajorVersion(4);

/// The arguments of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// The queue has no delivery limit, because the argument is absent.
    LimitLeftOut,
    /// The queue has a disabled delivery limit.
    LimitDisabled,
}

impl Arguments {
    /// The arguments for a new queue on this version of the server.
    pub(super) fn of(version: MajorVersion) -> Self {
        if version < DEFAULT_DELIVERY_LIMIT_SINCE {
            Self::LimitLeftOut
        } else {
            Self::LimitDisabled
        }
    }

    fn table(self) -> FieldTable {
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        if self == Self::LimitDisabled {
            table.insert("x-delivery-limit".into(), AMQPValue::LongInt(-1));
        }
        table
    }
}

/// Declares a queue. It uses a separate channel, because a refusal ends the channel.
pub(super) async fn declare(connection: &Connection, name: &str, arguments: Arguments) -> Result<(), Error> {
    let channel = connection.create_channel().await?;
    channel
        .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments.table())
        .await?;
    Ok(())
}

/// True if a queue has this name. The check needs no right to configure.
pub(super) async fn exists(connection: &Connection, name: &str) -> Result<bool, Error> {
    let channel = connection.create_channel().await?;
    Ok(ready_messages(&channel, name).await?.is_some())
}

/// The number of waiting messages in a queue. A missing queue gives `None` and ends the channel.
pub(super) async fn ready_messages(channel: &Channel, name: &str) -> Result<Option<u64>, Error> {
    Ok(state(channel, name).await?.map(|state| state.ready))
}

/// The state of a queue. A missing queue gives `None` and ends the channel.
pub(super) async fn state(channel: &Channel, name: &str) -> Result<Option<QueueState>, Error> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::durable()
    };
    match channel.queue_declare(name.into(), passive, FieldTable::default()).await {
        Ok(queue) => Ok(Some(QueueState {
            ready: queue.message_count().into(),
            consumers: queue.consumer_count(),
        })),
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delivery_limit_is_disabled_on_every_version() {
        let limit = |major| {
            let table = Arguments::of(MajorVersion(major)).table();
            assert_eq!(
                table.inner().get("x-queue-type"),
                Some(&AMQPValue::LongString("quorum".into()))
            );
            assert!(!table.contains_key("x-dead-letter-exchange"));
            table.inner().get("x-delivery-limit").cloned()
        };
        assert_eq!(limit(0), None);
        assert_eq!(limit(3), None);
        assert_eq!(limit(4), Some(AMQPValue::LongInt(-1)));
        assert_eq!(limit(5), Some(AMQPValue::LongInt(-1)));
    }
}
