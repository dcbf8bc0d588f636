//! The queues and their arguments, which can never be changed once a queue is there. Every connection declares them; a
//! user without the right to do so finds them.
//!
//! Durable quorum queues without a dead-letter exchange: what is dead is published with a confirmation instead. No
//! delivery limit: how often a demand is tried is counted in its row. Below 4.0 that is said by leaving the argument
//! out (there, -1 drops a message the first time it comes back), from 4.0 by -1, because the default is a limit of 20.
//! A queue that was made below 4.0 stays as it is when the server is upgraded; only a policy can lift the limit there.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Error};

use super::connection::reply_code;
use super::greeting::MajorVersion;

const NOT_FOUND: u16 = 404;
/// The first version with a limit by default, and with -1 for none.
const DEFAULT_DELIVERY_LIMIT_SINCE: MajorVersion = MajorVersion(4);

/// The arguments of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// Without a delivery limit by its absence.
    LimitLeftOut,
    /// Without a delivery limit by saying so.
    LimitDisabled,
}

impl Arguments {
    /// What a queue is declared with on a server of this version.
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

/// Makes sure that a queue is there. Each goes on a channel of its own, because a refusal ends the channel.
pub(super) async fn declare(connection: &Connection, name: &str, arguments: Arguments) -> Result<(), Error> {
    let channel = connection.create_channel().await?;
    channel
        .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments.table())
        .await?;
    Ok(())
}

/// Whether there is a queue of this name. It needs no right to configure anything.
pub(super) async fn exists(connection: &Connection, name: &str) -> Result<bool, Error> {
    let channel = connection.create_channel().await?;
    Ok(ready_messages(&channel, name).await?.is_some())
}

/// How many messages are ready in a queue; nothing when there is no such queue, which ends the channel.
pub(super) async fn ready_messages(channel: &Channel, name: &str) -> Result<Option<u64>, Error> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::durable()
    };
    match channel.queue_declare(name.into(), passive, FieldTable::default()).await {
        Ok(queue) => Ok(Some(queue.message_count().into())),
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delivery_limit_is_disabled_in_the_words_of_each_version() {
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
