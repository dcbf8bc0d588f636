//! Receives messages. Each subscription has its own connection, so that dropping it returns unacknowledged messages.
//!
//! The first window is small until the size of messages is known. Prefetched messages without room in the budget occupy
//! the server's memory, and are delivered again when this program ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, poll};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Channel, Consumer};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::metrics::Held;
use super::super::window::Window;
use super::super::{BrokerError, Delivery, Prefetch, Queue, Result, Subscription};
use super::budget::{Scales, budget};
use super::connection::{Link, Purpose, Server};
use super::message;

/// The number of prefetched messages until their size is known.
const FIRST_WINDOW: u16 = 16;

/// A subscription. After an error every call returns that error.
pub(super) struct RabbitSubscription {
    server: Arc<Server>,
    queue: Queue,
    consumer: Consumer,
    /// True if the consumer's end was received. The library reports it only once.
    ended: bool,
    /// The next consumer, which has another window.
    next: Option<AbortOnDropHandle<Result<Consumer>>>,
    /// The number of messages prefetched for this consumer.
    window: u16,
    link: Link,
    prefetch: u16,
    scales: Scales,
    /// The unacknowledged deliveries with their weights, in the order of their tags.
    out: VecDeque<(Acker, usize)>,
    /// Their total weight.
    held: usize,
    shown: Held,
    /// Messages taken by a call of `next_batch` that may have been cancelled before it returned them.
    taken: Vec<Delivery>,
    acknowledged: u64,
    window_of_tags: Window,
    over: Option<BrokerError>,
}

impl RabbitSubscription {
    /// Connects and starts to consume.
    pub(super) async fn begin(server: Arc<Server>, queue: Queue, prefetch: Prefetch) -> Result<Self> {
        let (gate, scales) = budget(prefetch.bytes);
        // RabbitMQ takes zero as unlimited.
        let prefetch = prefetch.messages.max(1);
        let mut link = server.open(Purpose::Consume(gate)).await?;
        server.declare(&mut link, &queue).await?;
        let window = prefetch.min(FIRST_WINDOW);
        let consumer = consume(&server, &link.channel, server.names.get(&queue).into(), window).await?;
        Ok(Self {
            consumer,
            ended: false,
            next: None,
            window,
            link,
            prefetch,
            scales,
            out: VecDeque::new(),
            held: 0,
            shown: Held::new(&queue),
            taken: Vec::new(),
            acknowledged: 0,
            window_of_tags: Window::default(),
            over: None,
            queue,
            server,
        })
    }

    async fn take(&mut self) -> Result<()> {
        loop {
            if !self.ended {
                if let Some(message) = self.consumer.next().await {
                    self.came(message.map_err(|error| self.server.lost(&error))?);
                    if self.may_widen() {
                        self.widen().await;
                    }
                    return Ok(());
                }
                self.ended = true;
            }
            let Some(next) = &mut self.next else {
                return Err(BrokerError::Unavailable(format!(
                    "the server ended the subscription to {}, whose queue may be gone",
                    self.consumer.queue()
                )));
            };
            let begun = next.await;
            self.next = None;
            self.ended = false;
            self.consumer = begun.map_err(|error| BrokerError::Unavailable(error.to_string()))??;
        }
    }

    fn came(&mut self, message: lapin::message::Delivery) {
        let weight = self.scales.next_weight();
        self.held += weight;
        self.out.push_back((message.acker.clone(), weight));
        self.taken.push(message::delivery(&self.queue, message));
    }

    /// True if the rest of the prefetch probably has room, judging by the size of the first messages.
    fn may_widen(&self) -> bool {
        let (out, rest) = (self.out.len(), usize::from(self.rest()));
        let all_out = self.next.is_none() && out == usize::from(FIRST_WINDOW) && self.window == FIRST_WINDOW;
        let expected = (self.held / out.max(1)).saturating_mul(rest);
        all_out && rest > usize::from(FIRST_WINDOW) && expected <= self.scales.limit()
    }

    /// The prefetch without the first window. The total then stays within the prefetch while consumers change.
    fn rest(&self) -> u16 {
        self.prefetch.saturating_sub(FIRST_WINDOW)
    }

    /// Replaces the consumer with another one on the same channel, because RabbitMQ cannot change the window of a
    /// quorum queue's consumer. The whole window of the old consumer is received, so no message is on its way to it.
    /// Its messages stay with this subscription.
    async fn widen(&mut self) {
        let window = self.rest();
        let (server, channel) = (self.server.clone(), self.link.channel.clone());
        let (tag, queue) = (self.consumer.tag(), self.consumer.queue());
        let mut changing = Box::pin(async move {
            let cancelled = channel.basic_cancel(tag, BasicCancelOptions::default());
            cancelled.await.map_err(|error| server.lost(&error))?;
            consume(&server, &channel, queue, window).await
        });
        // The poll queues the cancellation before any acknowledgement, which would let more messages come.
        let first = poll!(changing.as_mut());
        self.window = window;
        self.next = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            match first {
                Poll::Ready(begun) => begun,
                Poll::Pending => changing.await,
            }
        })));
    }

    async fn fill(&mut self, max: usize, wait: Duration) -> Result<()> {
        if self.taken.is_empty() {
            self.take().await?;
        }
        let mut waited = std::pin::pin!(sleep(wait));
        while self.taken.len() < max && self.out.len() < usize::from(self.prefetch) {
            if let Some(taken) = self.take().now_or_never() {
                taken?;
                continue;
            }
            if wait.is_zero() {
                break;
            }
            tokio::select! {
                biased;
                taken = self.take() => taken?,
                () = &mut waited => break,
            }
        }
        Ok(())
    }

    /// Acknowledges all deliveries up to a tag.
    async fn acknowledge_to(&mut self, tag: u64) -> Result<()> {
        let stale = || BrokerError::Unavailable("an acknowledgement came too late for its connection".into());
        let finished = usize::try_from(tag - self.acknowledged).unwrap_or(usize::MAX);
        let acker = finished
            .checked_sub(1)
            .and_then(|last| self.out.get(last))
            .map(|(acker, _)| acker)
            .ok_or_else(stale)?;
        let acknowledge = acker.ack(BasicAckOptions { multiple: true });
        let fresh = timeout(self.server.config.answer_timeout, acknowledge)
            .await
            .map_err(|_| self.server.no_answer("to an acknowledgement"))?
            .map_err(|error| self.server.lost(&error))?;
        if !fresh {
            return Err(stale());
        }
        let weight = self.out.drain(..finished).map(|(_, weight)| weight).sum();
        self.held -= weight;
        self.scales.release(weight);
        self.shown.show(self.out.len(), self.held);
        self.acknowledged = tag;
        Ok(())
    }

    fn end_with(&mut self, error: BrokerError) -> BrokerError {
        self.over.insert(error).clone()
    }
}

/// Starts a consumer with this window.
async fn consume(server: &Server, channel: &Channel, queue: ShortString, window: u16) -> Result<Consumer> {
    let consume = async {
        channel.basic_qos(window, BasicQosOptions::default()).await?;
        channel
            .basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default())
            .await
    };
    timeout(server.config.answer_timeout, consume)
        .await
        .map_err(|_| server.no_answer("to a subscription"))?
        .map_err(|error| server.lost(&error))
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
                self.shown.show(self.out.len(), self.held);
                Ok(self.taken.drain(..handed_over).collect())
            }
            Err(error) => Err(self.end_with(error)),
        }
    }

    async fn acknowledge(&mut self, tags: &[u64]) -> Result<()> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        match self.window_of_tags.finish(tags) {
            Some(tag) => self.acknowledge_to(tag).await.map_err(|error| self.end_with(error)),
            None => Ok(()),
        }
    }
}
