//! An operator's hand at the queues: deleting and emptying them, which no part of PP does.

use anyhow::Result;
use lapin::options::{QueueDeleteOptions, QueuePurgeOptions};
use lapin::{Channel, Connection, ConnectionProperties};

/// Deletes a queue with what is in it; how many messages that were.
///
/// # Errors
/// When the server does not do it.
pub async fn delete(url: &str, queue: &str) -> Result<u32> {
    let channel = channel(url).await?;
    Ok(channel
        .queue_delete(queue.into(), QueueDeleteOptions::default())
        .await?)
}

/// Empties a queue; how many messages were in it.
///
/// # Errors
/// When the server does not do it.
pub async fn purge(url: &str, queue: &str) -> Result<u32> {
    let channel = channel(url).await?;
    Ok(channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?)
}

/// Its connection ends with it.
async fn channel(url: &str) -> Result<Channel> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    Ok(connection.create_channel().await?)
}
