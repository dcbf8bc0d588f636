//! Receiving: one subscription has one connection, so that dropping it gives back what it did not acknowledge.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Consumer};
use tokio::time::{sleep, timeout};

use super::super::window::Window;
use super::super::{BrokerError, Delivery, Queue, Result, Subscription};
use super::connection::{Link, Purpose, Server};
use super::message;

/// One subscription. Once an error was met, every call gives it again.
pub(super) struct RabbitSubscription {
    server: Arc<Server>,
    queue: Queue,
    // Before the link, so that the channel is closed by the last of its users.
    consumer: Consumer,
    _link: Link,
    prefetch: usize,
    /// Those of the deliveries that are not acknowledged, in the order of their tags.
    ackers: VecDeque<Acker>,
    /// Taken by a call of `next_batch` that may have been cancelled before it handed them over.
    taken: Vec<Delivery>,
    acknowledged: u64,
    window: Window,
    over: Option<BrokerError>,
}

impl RabbitSubscription {
    /// Connects and begins to consume.
    pub(super) async fn begin(server: Arc<Server>, queue: Queue, prefetch: u16) -> Result<Self> {
        // Zero would mean no bound at all.
        let prefetch = prefetch.max(1);
        let link = server.open(Purpose::Consume).await?;
        let consume = async {
            link.channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            let name = server.names.get(queue).into();
            link.channel
                .basic_consume(name, "".into(), BasicConsumeOptions::default(), FieldTable::default())
                .await
        };
        let consumer = timeout(server.config.answer_timeout, consume)
            .await
            .map_err(|_| server.no_answer("to a subscription"))?
            .map_err(|error| server.lost(&error))?;
        Ok(Self {
            consumer,
            _link: link,
            prefetch: prefetch.into(),
            ackers: VecDeque::new(),
            taken: Vec::new(),
            acknowledged: 0,
            window: Window::default(),
            over: None,
            queue,
            server,
        })
    }

    /// Takes one message from the connection.
    async fn take(&mut self) -> Result<()> {
        match self.consumer.next().await {
            Some(Ok(message)) => {
                self.ackers.push_back(message.acker.clone());
                self.taken.push(message::delivery(self.queue, message));
                Ok(())
            }
            Some(Err(error)) => Err(self.server.lost(&error)),
            None => Err(BrokerError::Unavailable(format!(
                "the server ended the subscription to {}, whose queue may be gone",
                self.consumer.queue()
            ))),
        }
    }

    async fn fill(&mut self, max: usize, wait: Duration) -> Result<()> {
        if self.taken.is_empty() {
            self.take().await?;
        }
        let mut waited = std::pin::pin!(sleep(wait));
        while self.taken.len() < max && self.ackers.len() < self.prefetch {
            tokio::select! {
                biased;
                taken = self.take() => taken?,
                () = &mut waited => break,
            }
        }
        Ok(())
    }

    /// Acknowledges everything up to a tag.
    async fn acknowledge_to(&mut self, tag: u64) -> Result<()> {
        let stale = || BrokerError::Unavailable("an acknowledgement came too late for its connection".into());
        let finished = usize::try_from(tag - self.acknowledged).unwrap_or(usize::MAX);
        let acker = finished
            .checked_sub(1)
            .and_then(|last| self.ackers.get(last))
            .ok_or_else(stale)?;
        let acknowledge = acker.ack(BasicAckOptions { multiple: true });
        let fresh = timeout(self.server.config.answer_timeout, acknowledge)
            .await
            .map_err(|_| self.server.no_answer("to an acknowledgement"))?
            .map_err(|error| self.server.lost(&error))?;
        if !fresh {
            return Err(stale());
        }
        self.ackers.drain(..finished);
        self.acknowledged = tag;
        Ok(())
    }

    fn end_with(&mut self, error: BrokerError) -> BrokerError {
        self.over.insert(error).clone()
    }
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        let max = max.max(1);
        match self.fill(max, wait).await {
            Ok(()) => {
                let handed_over = self.taken.len().min(max);
                Ok(self.taken.drain(..handed_over).collect())
            }
            Err(error) => Err(self.end_with(error)),
        }
    }

    async fn acknowledge(&mut self, tags: &[u64]) -> Result<()> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        match self.window.finish(tags) {
            Some(tag) => self.acknowledge_to(tag).await.map_err(|error| self.end_with(error)),
            None => Ok(()),
        }
    }
}
