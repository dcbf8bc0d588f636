//! RabbitMQ over one channel, into a queue like PP's: persistent messages with confirmations in windows of 2,000, and
//! consuming them with one acknowledgement for 500.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

use super::super::stand::Stand;
use pp_chaos::demands::Demands;
use pp_chaos::queues;
use pp_testkit::servers::Kind;

/// How its limits are called.
pub(in super::super) const PUBLISH: &str = "RabbitMQ publish, confirmed, window 2,000";
pub(in super::super) const CONSUME: &str = "RabbitMQ consume, acknowledging 500";
const WINDOW: usize = 2_000;
const ACKNOWLEDGED_AT_ONCE: usize = 500;
const PREFIX: &str = "bench.limit";
const BODY: &[u8] = br#"{"add_up_to":42,"done":false}"#;
const PERSISTENT: u8 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages published a second, and consumed a second.
pub(in super::super) fn rates(stand: &Stand, messages: usize) -> Result<(f64, f64)> {
    let url = stand.servers.url(Kind::RabbitMq)?;
    stand.runtime.block_on(async {
        // Declares the queues, with PP's arguments.
        drop(Demands::connect(&url, PREFIX).await?);
        let queue = format!("{PREFIX}.demand");
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let published = timed(messages, publish(&channel, &queue, messages)).await?;
        let consumed = timed(messages, consume(&channel, &queue, messages)).await?;
        channel.close(200, "done".into()).await?;
        let left = queues::delete(&url, &queue).await?;
        ensure!(left == 0, "{left} messages were not acknowledged");
        Ok((published, consumed))
    })
}

async fn timed(messages: usize, work: impl Future<Output = Result<()>>) -> Result<f64> {
    let begun = Instant::now();
    work.await?;
    Ok(messages as f64 / begun.elapsed().as_secs_f64())
}

async fn publish(channel: &Channel, queue: &str, messages: usize) -> Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    for first in (0..messages).step_by(WINDOW) {
        let mut window = Vec::with_capacity(WINDOW);
        for number in first..messages.min(first + WINDOW) {
            let properties = properties.clone().with_message_id(format!("{number:036}").into());
            let sent = channel.basic_publish(
                "".into(),
                queue.into(),
                BasicPublishOptions::default(),
                BODY,
                properties,
            );
            window.push(sent.await?);
        }
        let answers = timeout(PATIENCE, try_join_all(window))
            .await
            .context("no confirmation")??;
        ensure!(
            answers.iter().all(lapin::Confirmation::is_ack),
            "not every message was confirmed"
        );
    }
    Ok(())
}

async fn consume(channel: &Channel, queue: &str, messages: usize) -> Result<()> {
    channel.basic_qos(WINDOW as u16, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel
        .basic_consume(queue.into(), "limit".into(), options, FieldTable::default())
        .await?;
    for number in 1..=messages {
        let delivery = timeout(PATIENCE, consumer.next()).await.context("no message")?;
        let delivery = delivery.context("the consumer ended")??;
        if number % ACKNOWLEDGED_AT_ONCE == 0 || number == messages {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}
