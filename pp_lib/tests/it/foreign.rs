//! A foreign RabbitMQ client: prepares and deletes queues, and publishes messages that PP would not.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use pp_lib::broker::Queue;
use pp_lib::broker::queues::QueueNames;
use pp_lib::broker::rabbitmq::{RabbitMq, RabbitMqConfig};
use uuid::Uuid;

use crate::garbled;

/// The server of these tests.
pub(crate) fn server_url() -> String {
    std::env::var("PP_TEST_RABBITMQ_URL")
        .expect("PP_TEST_RABBITMQ_URL names no RabbitMQ server: run these tests with `make test`, which starts one")
}

/// Queues of one test, and a connection of the foreign client.
pub(crate) struct QueuesOfOneTest {
    pub(crate) names: QueueNames,
    connection: Connection,
}

impl QueuesOfOneTest {
    pub(crate) async fn new() -> Self {
        Self {
            names: QueueNames::new(&format!("pp.test.{}", Uuid::new_v4().simple())),
            connection: Connection::connect(&server_url(), ConnectionProperties::default())
                .await
                .unwrap(),
        }
    }

    /// The adapter on these queues.
    pub(crate) async fn broker(&self) -> RabbitMq {
        self.broker_at(&server_url()).await
    }

    /// The adapter on these queues, through another URL of the server.
    pub(crate) async fn broker_at(&self, url: &str) -> RabbitMq {
        let config = RabbitMqConfig {
            name: self.names.get(&Queue::sums()),
            ..RabbitMqConfig::default()
        };
        RabbitMq::connect(url, self.names.clone(), config).await.unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    /// Publishes to the demand queue.
    pub(crate) async fn publish(&self, properties: BasicProperties, body: &[u8]) {
        self.publish_on(&self.connection, properties, body).await;
    }

    /// Publishes with bytes that are not UTF-8 in place of [`garbled::MARK`], as some client libraries do.
    pub(crate) async fn publish_garbled(&self, properties: BasicProperties, body: &[u8]) {
        let way = garbled::way_to(&server_url()).await;
        let connection = Connection::connect(&way, ConnectionProperties::default())
            .await
            .unwrap();
        self.publish_on(&connection, properties, body).await;
        connection.close(200, "done".into()).await.unwrap();
    }

    async fn publish_on(&self, connection: &Connection, properties: BasicProperties, body: &[u8]) {
        let channel = connection.create_channel().await.unwrap();
        // Closing the channel may overtake the message, so the confirmation is awaited first.
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let queue = self.names.get(&Queue::sums()).into();
        let sent = channel.basic_publish("".into(), queue, BasicPublishOptions::default(), body, properties);
        assert!(sent.await.unwrap().await.unwrap().is_ack());
        channel.close(200, "done".into()).await.unwrap();
    }

    /// Declares the demand queue as a classic queue, which PP refuses.
    pub(crate) async fn declare_classic(&self) {
        self.declare(&self.names.get(&Queue::sums()), "classic").await;
    }

    /// Declares both queues as PP does on a server before 4.0. They stay so after its upgrade.
    pub(crate) async fn declare_as_before_4(&self) {
        self.declare(&self.names.get(&Queue::sums()), "quorum").await;
        self.declare(&self.names.get(&Queue::DeadLetter), "quorum").await;
    }

    /// Declares a queue of this type.
    pub(crate) async fn declare(&self, queue: &str, kind: &str) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        self.channel()
            .await
            .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
            .await
            .unwrap();
    }

    pub(crate) async fn delete_queue(&self, name: &str) {
        self.channel()
            .await
            .queue_delete(name.into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }

    /// Deletes the queues. Every test ends with this call.
    pub(crate) async fn delete(self) {
        self.delete_queue(&self.names.get(&Queue::sums())).await;
        self.delete_queue(&self.names.get(&Queue::DeadLetter)).await;
    }
}
