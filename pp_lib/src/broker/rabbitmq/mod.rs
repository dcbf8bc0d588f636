//! RabbitMQ: the broker between processes, right for 3.10 and for 4.x.
//!
//! This folder alone knows the client library. It recovers nothing by itself: publishing opens another connection with
//! the next call, a subscription that met an error is over. `transport` and `frames` stand between the library and the
//! server, so that a message from a careless client does not end a connection, and large ones not the process.

mod budget;
mod connection;
mod consumer;
mod frames;
mod greeting;
mod management;
mod message;
mod publisher;
mod topology;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::connection::{Purpose, Server};
use self::consumer::RabbitSubscription;
pub use self::management::Management;
use self::message::Parcel;
use self::publisher::Publisher;
use super::queues::QueueNames;
use super::{Broker, BrokerError, DeadLetter, Outgoing, Prefetch, Published, Queue, Resent, Result, Subscription};

/// How to behave towards the server.
#[derive(Clone, Debug)]
pub struct RabbitMqConfig {
    /// What the server's operator sees the connections by; `pp` unless told otherwise.
    pub name: String,
    /// Where the management API is, `http://user:password@host:15672`, if it may be asked about policies.
    pub management: Option<String>,
    /// How long connecting may take, and trying to connect again when the connection was lost; 5 s.
    pub connect_timeout: Duration,
    /// How long the confirmation of what was published may take, a few thousand messages at a time; 10 s.
    pub confirm_timeout: Duration,
    /// How long every other answer may take; 5 s.
    pub answer_timeout: Duration,
}

impl Default for RabbitMqConfig {
    fn default() -> Self {
        Self {
            name: "pp".into(),
            management: None,
            connect_timeout: Duration::from_secs(5),
            confirm_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(5),
        }
    }
}

/// The broker on a RabbitMQ server.
pub struct RabbitMq {
    server: Arc<Server>,
    publisher: Publisher,
    management: Option<Management>,
}

impl RabbitMq {
    /// Connects once and declares the queues. Call it from within a Tokio runtime, which must outlive the broker.
    ///
    /// [`BrokerError::Unavailable`] is worth another try, as a server may come up late; [`BrokerError::Rejected`] is
    /// not: a bad URL, a login that is refused, a queue that exists with other arguments.
    pub async fn connect(url: &str, names: QueueNames, config: RabbitMqConfig) -> Result<Self> {
        let broker = Self::without_connection(url, names, config)?;
        let link = broker.server.open(Purpose::Publish).await?;
        broker.publisher.begin_with(link).await;
        Ok(broker)
    }

    /// Connects with the first call that needs it, as any call does whose connection was lost. Only a bad URL or name
    /// is an error here.
    pub fn without_connection(url: &str, names: QueueNames, config: RabbitMqConfig) -> Result<Self> {
        let management = config.management.as_deref();
        let management = management
            .map(|address| Management::new(address, url, &names))
            .transpose()?;
        let server = Arc::new(Server::new(url, names, config)?);
        let publisher = Publisher::new(server.clone());
        Ok(Self {
            server,
            publisher,
            management,
        })
    }
}

#[async_trait]
impl Broker for RabbitMq {
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>> {
        let parcels: Vec<_> = messages.iter().map(Parcel::demand).collect();
        self.publisher.publish(Queue::Demand, &parcels).await
    }

    async fn resend(&self, messages: &[Resent]) -> Result<Vec<Published>> {
        let parcels: Vec<_> = messages.iter().map(Parcel::resent).collect();
        self.publisher.publish(Queue::Demand, &parcels).await
    }

    async fn dead_letter(&self, letters: &[DeadLetter]) -> Result<()> {
        let parcels: Vec<_> = letters.iter().map(Parcel::dead_letter).collect();
        let published = self.publisher.publish(Queue::DeadLetter, &parcels).await?;
        let safe = published
            .iter()
            .filter(|published| **published == Published::Confirmed)
            .count();
        if safe == letters.len() {
            return Ok(());
        }
        let all = letters.len();
        Err(BrokerError::Unavailable(format!(
            "{safe} of {all} dead letters were confirmed"
        )))
    }

    async fn subscribe(&self, queue: Queue, prefetch: Prefetch) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(
            RabbitSubscription::begin(self.server.clone(), queue, prefetch).await?,
        ))
    }

    async fn ready_messages(&self, queue: Queue) -> Result<u64> {
        self.publisher.ready_messages(queue).await
    }

    async fn dropping(&self) -> Result<Option<Vec<String>>> {
        match &self.management {
            Some(management) => management.dropping().await.map(Some),
            None => Ok(None),
        }
    }

    fn durable(&self) -> bool {
        true
    }
}
