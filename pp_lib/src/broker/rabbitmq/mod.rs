//! RabbitMQ, the broker between processes, for versions 3.10 and 4.x.
//!
//! Only this folder knows the client library. Nothing recovers in the background: publishing opens another connection
//! with the next call, and an error ends a subscription. `transport` and `frames` stand between the library and the
//! server, so that a malformed message does not end a connection and large ones do not exhaust the memory.

mod budget;
mod connection;
mod consumer;
mod frames;
mod greeting;
mod inspection;
mod management;
mod message;
mod publisher;
mod topology;
mod transport;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pp_tls::Trust;

use self::connection::{Purpose, Server};
use self::consumer::RabbitSubscription;
pub use self::management::Management;
use self::publisher::Publisher;
use super::metrics::published;
use super::queues::{NamesOfKind, QueueNames};
use super::{
    Broker, BrokerError, DeadLetter, Inspection, Outgoing, Prefetch, Published, Queue, Resent, Result, Subscription,
};
use crate::domain::KindName;

/// The behaviour towards the server.
#[derive(Clone, Debug)]
pub struct RabbitMqConfig {
    /// The name of the connections for the server's operator; `pp` by default.
    pub name: String,
    /// The address of the management API, `http://user:password@host:15672` or `https://`, for reading policies.
    pub management: Option<String>,
    /// The authorities of the server's certificate, for `amqps://` and `https://`.
    pub trust: Trust,
    /// The time limit of connecting, and of retries after a lost connection; 5 s by default.
    pub connect_timeout: Duration,
    /// The time limit of confirmations for a window of a few thousand messages; 10 s by default.
    pub confirm_timeout: Duration,
    /// The time limit of every other answer; 5 s by default.
    pub answer_timeout: Duration,
}

impl Default for RabbitMqConfig {
    fn default() -> Self {
        Self {
            name: "pp".into(),
            management: None,
            trust: Trust::default(),
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
    /// Connects once and declares the queues of sums and of dead letters; those of other kinds are declared with their
    /// first use. It needs a Tokio runtime that outlives the broker.
    ///
    /// [`BrokerError::Unavailable`] is worth a retry, because a server may start late. [`BrokerError::Rejected`] is
    /// not: the URL is invalid, the login is refused, or a queue exists with other arguments.
    pub async fn connect(url: &str, names: QueueNames, config: RabbitMqConfig) -> Result<Self> {
        let broker = Self::without_connection(url, names, config)?;
        let mut link = broker.server.open(Purpose::Publish).await?;
        for queue in [Queue::sums(), Queue::DeadLetter] {
            broker.server.declare(&mut link, &queue).await?;
        }
        broker.publisher.begin_with(link).await;
        Ok(broker)
    }

    /// A broker that connects with the first call that needs it, as every call does after a lost connection. Only an
    /// invalid URL or name is an error here.
    pub fn without_connection(url: &str, names: QueueNames, config: RabbitMqConfig) -> Result<Self> {
        let management = config.management.as_deref();
        let management = management
            .map(|address| Management::new(address, url, &config.trust))
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
    async fn publish(&self, kind: &KindName, messages: &[Outgoing]) -> Result<Vec<Published>> {
        let messages: Vec<_> = messages.iter().map(message::demand).collect();
        let outcomes = self.publisher.publish(&Queue::Demand(kind.clone()), &messages).await?;
        Ok(published(kind, outcomes))
    }

    async fn resend(&self, kind: &KindName, messages: &[Resent]) -> Result<Vec<Published>> {
        let messages: Vec<_> = messages.iter().map(message::resent).collect();
        let outcomes = self.publisher.publish(&Queue::Demand(kind.clone()), &messages).await?;
        Ok(published(kind, outcomes))
    }

    async fn dead_letter(&self, letters: &[DeadLetter]) -> Result<()> {
        for letters in letters.chunk_by(|one, next| one.kind == next.kind) {
            let queue = self.server.names.of_dead_letters(&letters[0].kind);
            let messages: Vec<_> = letters.iter().map(message::dead_letter).collect();
            let published = self.publisher.publish(&queue, &messages).await?;
            let confirmed = published.iter().filter(|published| **published == Published::Confirmed);
            let (safe, all) = (confirmed.count(), letters.len());
            if safe < all {
                return Err(BrokerError::Unavailable(format!(
                    "{safe} of {all} dead letters were confirmed"
                )));
            }
        }
        Ok(())
    }

    async fn subscribe(&self, queue: &Queue, prefetch: Prefetch) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(
            RabbitSubscription::begin(self.server.clone(), queue.clone(), prefetch).await?,
        ))
    }

    async fn ready_messages(&self, queue: &Queue) -> Result<u64> {
        self.publisher.ready_messages(queue).await
    }

    async fn declare(&self, queue: &Queue) -> Result<()> {
        self.publisher.declare(queue).await
    }

    async fn inspect(&self, queues: &[Queue]) -> Result<Option<Inspection>> {
        self.server.inspect(queues).await.map(Some)
    }

    fn name_queues(&self, kinds: &[NamesOfKind<'_>]) -> Vec<String> {
        self.server.names.follow(kinds)
    }

    fn dead_letter_queues(&self) -> Vec<(Queue, KindName)> {
        self.server.names.dead_letter_queues()
    }

    async fn dropping(&self) -> Result<Option<Vec<String>>> {
        match &self.management {
            Some(management) => management.dropping(self.server.used()?).await.map(Some),
            None => Ok(None),
        }
    }

    fn durable(&self) -> bool {
        true
    }
}
